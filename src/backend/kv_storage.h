// Storage types of the K/V cache, what a block of one layer weighs in every backend (32 tokens of
// kv_heads vectors), and where the pieces of blocks lie.
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

// The same piece of kKvRun consecutive blocks lies side by side: one stream for whoever reads a
// single head of a sequence, and still the memory of a short one is the beginning of the buffer.
inline constexpr int kKvRun = 16;

// Bytes of K (or V) before a piece of a block.
inline size_t kv_piece_offset(int pieces, size_t piece_bytes, BlockId block, int piece) {
  const auto run = static_cast<size_t>(block / kKvRun * pieces + piece);
  return (run * kKvRun + static_cast<size_t>(block % kKvRun)) * piece_bytes;
}

// Bytes of K (or V) of `blocks` blocks: whole runs.
inline size_t kv_buffer_bytes(size_t block_bytes, int blocks) {
  return block_bytes * kKvRun * static_cast<size_t>((blocks + kKvRun - 1) / kKvRun);
}

}  // namespace serval
