// DiskTier: the persistent part of the prefix cache. Offers every published block to the DiskCache,
// and before a request is admitted reads what the disk knows of its beginning and memory does not,
// when that is faster than computing it.
//
// A load goes into blocks that nobody else names; they are published, on the engine thread, once
// every byte is verified. The request waits with Sequence::loading set, all others run on. One load
// at a time, so two requests with one beginning read it once. A load that ends early (a damaged
// record, a full pool) just means a shorter prefix.
//
// Threads: its reader fills the blocks of a load; everything else runs on the engine thread.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "engine/core.h"
#include "kvdisk/disk_cache.h"

namespace serval {

class DiskTier {
 public:
  // Runs a job on the engine thread between two steps, without waiting for it.
  using Later = std::function<void(std::function<void(Core&)>)>;

  // Throws Error(kIo). `kv` must outlive the tier.
  DiskTier(const DiskCacheConfig& config, KvCache& kv, Later later);
  ~DiskTier();
  DiskTier(const DiskTier&) = delete;
  DiskTier& operator=(const DiskTier&) = delete;

  // On the engine thread, before the first request. The core must not step after the tier is gone.
  void attach(Core& core);
  // After this no job is posted any more. Call it before the engine thread ends.
  void stop();

  const DiskCache& cache() const { return cache_; }
  // Engine thread: is what this findable block holds also on disk?
  bool holds(BlockId block) const { return record_of_[static_cast<size_t>(block)] != 0; }

 private:
  struct Load {
    RequestId request = 0;
    CacheDomain domain = 0;
    std::vector<TokenId> tokens;    // of all blocks in the table
    BlockTable table;               // first those that memory had
    int cached = 0;                 // of them
    std::vector<uint64_t> records;  // of the others
    int read = 0;                   // of these, verified and in their blocks
  };

  void published(const PublishedBlock& block);
  void consider(Core& core, Sequence& sequence);
  // What the disk has beyond memory, as far as it pays and fits; null: nothing.
  std::unique_ptr<Load> plan(Core& core, const Sequence& sequence);
  void start_next(Core& core);
  void finish(Core& core, Load& load);
  void read_loop();
  void read(Load& load);

  KvCache& kv_;
  DiskCache cache_;
  Later later_;
  std::vector<uint64_t> record_of_;  // by block: of its content when it was published; 0: none
  std::deque<RequestId> waiting_;
  bool busy_ = false;

  std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  std::shared_ptr<Load> next_;
  bool stopping_ = false;
  std::thread reader_;
};

}  // namespace serval
