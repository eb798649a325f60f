// SnapshotShelf: the named KV snapshots of one model, a file each, in one folder per tenant:
//
//   DIR/NAME.kv           of those who use no key
//   DIR/@TENANT/NAME.kv   of the key with that name, its odd characters as %XX
//
// A snapshot is complete or absent (docs/formats/snapshot.md). A loaded one is pinned in the KV
// pool until it is unloaded or deleted. What takes long runs one at a time on the shelf's own
// thread, so that it never stands before anybody's chat; the listings may run on any thread.
//
// Owned by the Service. Methods throw Error, in whose messages a snapshot is named, never a path.
#pragma once

#include <atomic>
#include <boost/asio/thread_pool.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "serval/engine.h"

namespace serval {

struct ShelfConfig {
  std::string folder;                       // empty: there are no named snapshots
  uint64_t max_bytes = uint64_t{16} << 30;  // of all of them together
  uint64_t max_import = uint64_t{1} << 30;  // of one that comes or goes over HTTP
  std::vector<std::string> preload;         // NAME, or KEY/NAME
};

struct SnapshotEntry {
  std::string name;
  int tokens = 0;
  uint64_t bytes = 0;
  int64_t created = 0;  // seconds since 1970
  bool loaded = false;
  std::string problem;  // why this model cannot load it; empty: it can
};

// 1 to 64 of a-z, 0-9, '.', '_' and '-', not beginning with '.'.
bool valid_snapshot_name(std::string_view name);

class SnapshotShelf {
 public:
  // Loads what is to be preloaded. Throws Error.
  SnapshotShelf(Engine& engine, ShelfConfig config);
  ~SnapshotShelf();
  SnapshotShelf(const SnapshotShelf&) = delete;
  SnapshotShelf& operator=(const SnapshotShelf&) = delete;

  bool enabled() const { return !config_.folder.empty(); }
  // Queues `job` on the shelf's thread; false when too many wait already.
  bool post(std::function<void()> job);
  // Finishes what was posted; nothing may be posted after.
  void join();

  std::vector<SnapshotEntry> list(const std::string& tenant) const;
  SnapshotEntry show(const std::string& tenant, const std::string& name) const;

  // On the shelf's thread:
  SnapshotEntry create(const std::string& tenant, const std::string& name, const Prompt& prompt,
                       bool replace);
  SnapshotEntry load(const std::string& tenant, const std::string& name);
  SnapshotEntry unload(const std::string& tenant, const std::string& name);
  void remove(const std::string& tenant, const std::string& name);
  std::string read(const std::string& tenant, const std::string& name) const;
  // Proves every byte before the name exists.
  SnapshotEntry import(const std::string& tenant, const std::string& name, std::string_view bytes,
                       bool replace);

 private:
  std::string folder_of(const std::string& tenant) const;
  std::string path_of(const std::string& tenant, const std::string& name) const;
  std::string prepare(const std::string& tenant, const std::string& name, uint64_t bytes,
                      bool replace) const;
  SnapshotEntry entry(const std::string& path, const std::string& name) const;
  void unpin(const std::string& path);
  uint64_t bytes_on_disk() const;
  SnapshotInfo load_path(const std::string& path, const std::string& tenant,
                         const std::string& name);

  Engine& engine_;
  const ShelfConfig config_;
  std::atomic<int> waiting_{0};
  mutable std::mutex mutex_;           // guards loaded_
  std::map<std::string, int> loaded_;  // pinned tokens by path
  boost::asio::thread_pool thread_{1};
};

}  // namespace serval
