// quantize_file: rewrites a GGUF model with its matrices in another storage type.
//
// Matrices (two or more dimensions, except norms, router inputs and other small tables) take the
// target type; everything else becomes F32. A matrix whose rows the target's block does not divide
// becomes F16. Metadata is kept, general.file_type updated, a split model joined into one file. The
// output appears complete and verified, or not at all.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tensor/dtype.h"

namespace serval {

struct QuantizeProgress {
  std::string tensor;  // being written
  size_t index = 0;    // from 0
  size_t count = 0;
  uint64_t bytes_done = 0;  // of the input's tensors
  uint64_t bytes_total = 0;
};

struct QuantizeOptions {
  DType target = DType::kQ8_0;  // REQUIRES: can_quantize(target); else Error(kUnsupported)
  int threads = 1;
  // Called from the calling thread before each tensor. May throw to cancel.
  std::function<void(const QuantizeProgress&)> progress = {};
};

struct QuantizeReport {
  size_t converted = 0;             // matrices now in the target type
  size_t kept_f32 = 0;              // norms, vectors and small tables
  size_t from_quantized = 0;        // converted out of an already lossy type: a second loss
  std::vector<std::string> as_f16;  // matrices whose row length does not fit the target's block
  uint64_t bytes_in = 0;            // of tensors
  uint64_t bytes_out = 0;
};

// Throws Error: kUnsupported (a target that cannot be written, a tensor that cannot be read),
// kInvalidArgument (out is in), kCorrupt (weights that are not finite), kIo.
QuantizeReport quantize_file(const std::string& in, const std::string& out,
                             const QuantizeOptions& options);

}  // namespace serval
