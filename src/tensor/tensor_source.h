// TensorRef names a weight in some container; TensorSource streams its bytes. The GGUF reader is
// one source, tests use one in memory. Reading is sequential-friendly and never maps or copies
// whole files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "tensor/dtype.h"

namespace serval {

struct TensorRef {
  std::string name;  // "blk.0.attn_q.weight"
  DType dtype = DType::kF32;
  int64_t rows = 0;  // output features (1 for vectors)
  int64_t cols = 0;  // input features; contiguous, a multiple of the dtype's block
  uint64_t bytes() const {
    return static_cast<uint64_t>(rows) * row_bytes(dtype, static_cast<uint64_t>(cols));
  }
};

class TensorSource {
 public:
  virtual ~TensorSource() = default;
  // Fills `out` with the bytes [offset, offset + out.size()) of the tensor, rows in order.
  // Throws Error(kIo / kCorrupt). Thread-safe.
  virtual void read(const TensorRef& ref, uint64_t offset, std::span<std::byte> out) = 0;
};

}  // namespace serval
