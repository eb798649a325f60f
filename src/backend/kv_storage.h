// Storage types of the K/V cache, and what a block of one layer weighs in every backend: 32 tokens
// of kv_heads vectors, each stored contiguously. Their order inside a block is the backend's.
#pragma once

#include <string>

#include "backend/backend.h"
#include "serval/error.h"
#include "tensor/dtype.h"

namespace serval {

constexpr DType kv_dtype(KvType type) {
  switch (type) {
    case KvType::kF32:
      return DType::kF32;
    case KvType::kF16:
      return DType::kF16;
    case KvType::kQ8_0:
      break;
  }
  return DType::kQ8_0;
}

// Bytes of K, or of V. Throws Error(kUnsupported) when heads are not whole blocks of the type.
inline size_t kv_block_bytes(KvType type, int kv_heads, int head_dim) {
  const DTypeInfo& dtype = info(kv_dtype(type));
  if (head_dim % dtype.block_elements != 0) {
    throw Error(ErrorCode::kUnsupported,
                "a " + std::string(dtype.name) + " KV cache needs heads of a multiple of " +
                    std::to_string(dtype.block_elements) + " dimensions; this model has " +
                    std::to_string(head_dim) + ": use f16 or f32");
  }
  return static_cast<size_t>(kBlockTokens) * static_cast<size_t>(kv_heads) *
         row_bytes(dtype.type, static_cast<uint64_t>(head_dim));
}

}  // namespace serval
