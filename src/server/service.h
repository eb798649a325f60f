// Service: what the routes share. Owned by the Server, outlives every request.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "serval/engine.h"
#include "server/http/handler.h"
#include "server/infill.h"
#include "server/metrics.h"
#include "server/monitor/findings.h"
#include "server/monitor/monitor.h"
#include "server/snapshots.h"

namespace serval {

struct ServiceConfig {
  std::string model;                 // the name clients are told
  std::vector<std::string> aliases;  // further names they may use
  std::vector<std::string> notices;  // what was asked for at start and has no effect
  ShelfConfig snapshots;
  int64_t queue_timeout_ms = 0;  // a request not begun by then fails with 503; 0: never
  int key_requests = 64;         // of one key in flight; more are 429; 0: any; keyless: any
  int slots = 0;                 // sequences computed at once, for clients that ask
  double read_bandwidth = 0;     // of this machine, bytes per second; 0: unknown
  double dot_peak = 0;           // multiply-adds per second of the model's kind; 0: unknown
  int64_t limits_unix_ms = 0;    // when these two were measured; 0: they were not
  int max_itl_ms = 0;            // what the engine was told
  bool kv_disk = false;          // cached KV is also on disk
  int64_t kv_disk_bytes = 0;     // most that it may take there
  bool monitor_text = false;     // the monitor shows how prompts and answers begin
  std::vector<Finding> machine;  // what was found of it at start
  int64_t timeout_ms = 0;        // a request ends with what is there after so long; 0: never
};

// What a request cost, for the access log.
struct RequestCost {
  Usage usage;
  Timings timings;  // of the first choice
  size_t choices = 0;
  RequestId request = 0;  // its number in the engine
};

class Service {
 public:
  // Loads the snapshots to be preloaded. Throws Error.
  Service(Engine& engine, ServiceConfig config);

  Engine& engine() const { return engine_; }
  const ServiceConfig& config() const { return config_; }
  const std::string& fingerprint() const { return fingerprint_; }
  int64_t created() const { return created_; }
  Metrics& metrics() { return metrics_; }
  ConnectionCounts& connections() { return connections_; }
  SnapshotShelf& snapshots() { return snapshots_; }
  Monitor& monitor() { return monitor_; }

  // The model's fill-in-the-middle marks, if it has them.
  const std::optional<InfillTokens>& infill_tokens() const { return infill_tokens_; }

  bool serves(const std::string& model) const;  // empty: not named, so ours

  bool draining() const { return draining_.load(); }
  // Nothing new begins, and nobody watches any more.
  void start_drain();

  // Requests in the engine, so that the end of a drain can stop them. Thread-safe.
  void began(RequestId id);
  void ended(RequestId id);
  // False when it is not alive.
  bool cancel(RequestId id);
  void cancel_all();

  // Counts `requests` of that key as in flight for as long as the result lives, which must end
  // before the Service does; null when the key has too many already.
  using KeyShare = std::shared_ptr<void>;
  KeyShare enter(const std::string& key, int requests);

  // Keeps a cost under the exchange's id until the log takes it. Thread-safe.
  void note(const std::string& exchange, const RequestCost& cost);
  std::optional<RequestCost> take_note(const std::string& exchange);

 private:
  Engine& engine_;
  const ServiceConfig config_;
  const std::optional<InfillTokens> infill_tokens_;
  std::string fingerprint_;
  int64_t created_ = 0;
  Metrics metrics_;
  ConnectionCounts connections_;
  std::atomic<bool> draining_{false};
  Monitor monitor_;
  std::mutex mutex_;  // guards what follows
  std::unordered_set<RequestId> live_;
  SnapshotShelf snapshots_;
  std::unordered_map<std::string, RequestCost> notes_;
  std::unordered_map<std::string, int> in_flight_;  // by key
};

}  // namespace serval
