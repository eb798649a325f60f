// A block outside the cache is, layer by layer, the pieces of its K, then those of its V.
#include "model/kv_cache.h"

#include <cstring>
#include <utility>

#include "backend/kv_storage.h"
#include "base/check.h"

namespace serval {
namespace {

// visit(where it lies by block, its bytes) for every piece of a block, in that order.
template <class Visit>
void for_pieces(const std::vector<KvLayer>& layers, const Visit& visit) {
  for (const KvLayer& layer : layers) {
    for (const auto& [buffer, bytes] : {std::pair(layer.k.get(), layer.k_block_bytes),
                                        std::pair(layer.v.get(), layer.v_block_bytes)}) {
      auto* data = static_cast<std::byte*>(buffer->data());
      const size_t piece_bytes = bytes / static_cast<size_t>(layer.pieces);
      for (int piece = 0; piece < layer.pieces; ++piece) {
        const auto at = [&](BlockId block) {
          return data + kv_piece_offset(layer.pieces, piece_bytes, block, piece);
        };
        visit(at, piece_bytes);
      }
    }
  }
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
  for_pieces(layers_, [&](const auto& at, size_t bytes) {
    std::memcpy(to, at(block), bytes);
    to += bytes;
  });
}

void KvCache::write_block(BlockId block, std::span<const std::byte> bytes) {
  SERVAL_CHECK(block >= 0 && block < blocks_ && bytes.size() == block_bytes());
  const std::byte* from = bytes.data();
  for_pieces(layers_, [&](const auto& at, size_t size) {
    std::memcpy(at(block), from, size);
    from += size;
  });
}

void KvCache::copy_block(BlockId from, BlockId to) {
  SERVAL_CHECK(from >= 0 && from < blocks_ && to >= 0 && to < blocks_ && from != to);
  for_pieces(layers_, [&](const auto& at, size_t bytes) { std::memcpy(at(to), at(from), bytes); });
}

}  // namespace serval
