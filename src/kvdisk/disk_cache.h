// DiskCache: KV blocks that outlive the process, in a folder of segment files.
//
// The blocks form chains: each record names its parent's, and is found by (parent, 32 tokens). A
// block is put with one copy of its bytes; a background thread appends it, and it can be found for
// reading only once it is durable. What cannot be written is dropped: the queue is bounded, and
// after a fault of the disk nothing more is written while reading goes on. Beyond `max_bytes` the
// oldest segment goes as a whole; of its records those that were hit since they were written are
// copied forward.
//
// One process owns the folder by a lock; another one may read what it found there at its start.
// find(), put() and match() never touch the disk; every method may be called from any thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "kvdisk/segment.h"

namespace serval {

struct DiskCacheConfig {
  std::string folder;  // made when absent
  uint64_t max_bytes = uint64_t{4} << 30;
  SegmentKind kind;
  uint64_t queue_bytes = uint64_t{64} << 20;  // waiting to be written
};

struct DiskCacheStats {
  uint64_t records = 0, bytes = 0;  // that can be read; bytes of all files here
  uint64_t written = 0, read = 0;   // records, in this process
  uint64_t dropped = 0;             // not written: queue full, no parent, or writing stopped
  uint64_t damaged = 0;             // found so when read
  uint64_t write_errors = 0;
};

class DiskCache {
 public:
  // Scans the headers of all segments. Throws Error(kIo) when the folder cannot be used.
  explicit DiskCache(const DiskCacheConfig& config);
  // Writes what is queued.
  ~DiskCache();
  DiskCache(const DiskCache&) = delete;
  DiskCache& operator=(const DiskCache&) = delete;

  // Why this process does not write; empty: it does.
  std::string read_only_reason() const;

  // The record after `parent` (0: the first of a chain in `domain`) with these 32 tokens, durable
  // or queued; 0: none.
  uint64_t find(uint64_t parent, uint64_t domain, std::span<const TokenId> tokens) const;
  // Queues a block unless it is there already. `fill` copies its bytes. Returns its record; 0 when
  // it was dropped.
  uint64_t put(uint64_t parent, uint64_t domain, std::span<const TokenId> tokens,
               const std::function<void(std::span<std::byte>)>& fill);
  // The durable records of the leading whole blocks of `tokens`, at most `most`.
  std::vector<uint64_t> match(uint64_t domain, std::span<const TokenId> tokens, int most) const;
  // False: no longer there, or damaged; a damaged record is forgotten.
  bool read(uint64_t record, std::span<std::byte> payload);

  // Bytes per second of the recent reads; a guess before the first.
  double read_rate() const { return read_rate_.load(std::memory_order_relaxed); }
  DiskCacheStats stats() const;
  // Waits until the queue is empty and what was in it durable or dropped. For tests.
  void flush();

 private:
  struct Entry {
    KvRecord record;
    std::shared_ptr<Segment> segment;  // null: queued
    uint64_t offset = 0;
    bool hit = false;
  };
  struct Queued {
    KvRecord record;
    std::vector<std::byte> payload;
  };
  using Index = std::unordered_map<uint64_t, Entry>;

  void lock_folder();
  void scan_folder();
  void add(const KvRecord& record, const std::shared_ptr<Segment>& segment, uint64_t offset);
  void forget(uint64_t id);
  const Entry* lookup(uint64_t parent, uint64_t domain, std::span<const TokenId> tokens) const;

  void write_loop();
  void write(std::deque<Queued>& batch);
  void ensure_room();
  void open_segment();
  void make_space();
  void copy_hits(const Segment& victim);
  void stop_writing(const std::string& reason);

  const DiskCacheConfig config_;
  const uint64_t record_bytes_;
  const uint64_t segment_bytes_;
  int lock_descriptor_ = -1;
  std::atomic<double> read_rate_{500e6};

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable wake_, drained_;
  Index index_;                                             // by id
  std::unordered_multimap<uint64_t, uint64_t> successors_;  // hash of (parent, tokens) -> id
  uint64_t next_id_ = 1;
  std::deque<Queued> queue_;
  uint64_t queued_bytes_ = 0;
  bool writing_ = false, stopping_ = false;
  std::string read_only_reason_;
  DiskCacheStats stats_;

  // The writer's own.
  struct Stored {
    std::string path;
    std::shared_ptr<Segment> segment;  // null: of another kind, or damaged
    uint64_t bytes = 0;
  };
  std::map<uint64_t, Stored> stored_;  // by number: the oldest first
  std::shared_ptr<Segment> active_;
  uint64_t next_number_ = 1;
  std::thread writer_;
};

}  // namespace serval
