// KvCache: the K/V blocks of every layer. Owns memory only; who may use which block is the engine's
// business (schedule/block_manager.h). Block `b` means the same 32 token positions in all layers.
#pragma once

#include <vector>

#include "backend/backend.h"
#include "model/config.h"

namespace serval {

class KvCache {
 public:
  // Throws Error(kOutOfMemory) with numbers.
  KvCache(Backend& backend, const ModelConfig& config, KvType type, int blocks);

  KvLayer& layer(int i) { return layers_[static_cast<size_t>(i)]; }
  const KvLayer& layer(int i) const { return layers_[static_cast<size_t>(i)]; }
  int layers() const { return static_cast<int>(layers_.size()); }
  int blocks() const { return blocks_; }
  KvType type() const { return type_; }

  // Bytes of one block over all layers, K then V, layer by layer: the unit of snapshots.
  size_t block_bytes() const;
  void read_block(BlockId block, std::span<std::byte> out) const;  // out.size() == block_bytes()
  void write_block(BlockId block, std::span<const std::byte> bytes);
  void copy_block(BlockId from, BlockId to);

  // Without allocating anything: bytes one block would need.
  static size_t block_bytes(const ModelConfig& config, KvType type);

 private:
  std::vector<KvLayer> layers_;
  int blocks_;
  KvType type_;
};

}  // namespace serval
