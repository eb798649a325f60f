// TensorSpec: the tensors an architecture is made of, as a table. Loading, plans and tools read the
// same rows, so a tensor that is missing, misshapen or unknown is found before any weight is read.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/gguf.h"
#include "model/config.h"

namespace serval {

// A dimension by its meaning; extent() gives its size in a model.
enum class Dim : uint8_t {
  kHidden,
  kQuery,     // heads * head_dim
  kKeyValue,  // kv_heads * head_dim
  kHeadDim,
  kFeedForward,
  kVocab,
  kRopePairs,
  kNone,  // the tensor is a vector
};

enum class Need : uint8_t { kRequired, kOptional };

struct TensorSpec {
  std::string_view name;  // "blk.*." stands for every layer
  Dim in;                 // contiguous dimension; the length of a vector
  Dim out;                // rows; kNone for vectors, which are always F32
  Need need = Need::kRequired;
};

int extent(Dim dim, const ModelConfig& config);

// "blk.*.attn_q.weight", 3 -> "blk.3.attn_q.weight"
std::string tensor_name(std::string_view name, int layer);

// Proves that `file` holds exactly the tensors of the table: the required ones, perhaps optional
// ones, nothing else, each with its shape and a type this build can decode.
// Throws Error(kCorrupt / kUnsupported) naming the tensor.
void check_tensors(const GgufFile& file, const ModelConfig& config,
                   std::span<const TensorSpec> table);

}  // namespace serval
