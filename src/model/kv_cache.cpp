// A block of the cache is, layer by layer, its K bytes then its V bytes: each one contiguous piece
// of that layer's buffers, so moving a block never looks inside.
#include "model/kv_cache.h"

#include <cstring>

#include "backend/kv_storage.h"
#include "base/check.h"

namespace serval {
namespace {

std::byte* piece(Buffer& buffer, size_t block_bytes, BlockId block) {
  return static_cast<std::byte*>(buffer.data()) + block_bytes * static_cast<size_t>(block);
}

}  // namespace

KvCache::KvCache(Backend& backend, const ModelConfig& config, KvType type, int blocks)
    : blocks_(blocks), type_(type) {
  SERVAL_CHECK(blocks > 0);
  try {
    for (int i = 0; i < config.layers; ++i) {
      layers_.push_back(backend.make_kv_layer(type, config.kv_heads, config.head_dim, blocks));
    }
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kOutOfMemory) throw;
    const size_t block = block_bytes(config, type);
    throw Error(ErrorCode::kOutOfMemory, "no memory for a KV cache of " + std::to_string(blocks) +
                                             " blocks x " + std::to_string(block) + " bytes (" +
                                             std::to_string(kBlockTokens) +
                                             " tokens each): ask for a smaller context");
  }
}

size_t KvCache::block_bytes() const {
  size_t total = 0;
  for (const KvLayer& layer : layers_) total += layer.k_block_bytes + layer.v_block_bytes;
  return total;
}

size_t KvCache::block_bytes(const ModelConfig& config, KvType type) {
  return 2 * kv_block_bytes(type, config.kv_heads, config.head_dim) *
         static_cast<size_t>(config.layers);
}

void KvCache::read_block(BlockId block, std::span<std::byte> out) const {
  SERVAL_CHECK(block >= 0 && block < blocks_ && out.size() == block_bytes());
  std::byte* to = out.data();
  for (const KvLayer& layer : layers_) {
    std::memcpy(to, piece(*layer.k, layer.k_block_bytes, block), layer.k_block_bytes);
    to += layer.k_block_bytes;
    std::memcpy(to, piece(*layer.v, layer.v_block_bytes, block), layer.v_block_bytes);
    to += layer.v_block_bytes;
  }
}

void KvCache::write_block(BlockId block, std::span<const std::byte> bytes) {
  SERVAL_CHECK(block >= 0 && block < blocks_ && bytes.size() == block_bytes());
  const std::byte* from = bytes.data();
  for (KvLayer& layer : layers_) {
    std::memcpy(piece(*layer.k, layer.k_block_bytes, block), from, layer.k_block_bytes);
    from += layer.k_block_bytes;
    std::memcpy(piece(*layer.v, layer.v_block_bytes, block), from, layer.v_block_bytes);
    from += layer.v_block_bytes;
  }
}

void KvCache::copy_block(BlockId from, BlockId to) {
  SERVAL_CHECK(from >= 0 && from < blocks_ && to >= 0 && to < blocks_ && from != to);
  for (KvLayer& layer : layers_) {
    std::memcpy(piece(*layer.k, layer.k_block_bytes, to),
                piece(*layer.k, layer.k_block_bytes, from), layer.k_block_bytes);
    std::memcpy(piece(*layer.v, layer.v_block_bytes, to),
                piece(*layer.v, layer.v_block_bytes, from), layer.v_block_bytes);
  }
}

}  // namespace serval
