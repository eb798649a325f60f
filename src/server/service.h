// Service: what the routes share. Owned by the Server, outlives every request.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <unordered_set>
#include <vector>

#include "serval/engine.h"
#include "server/http/handler.h"
#include "server/metrics.h"

namespace serval {

struct ServiceConfig {
  std::string model;                 // the name clients are told
  std::vector<std::string> aliases;  // further names they may use
  std::vector<std::string> notices;  // what was asked for at start and has no effect
};

class Service {
 public:
  Service(Engine& engine, ServiceConfig config);

  Engine& engine() const { return engine_; }
  const ServiceConfig& config() const { return config_; }
  const std::string& fingerprint() const { return fingerprint_; }
  int64_t created() const { return created_; }
  Metrics& metrics() { return metrics_; }
  ConnectionCounts& connections() { return connections_; }

  bool serves(const std::string& model) const;  // empty: not named, so ours

  bool draining() const { return draining_.load(); }
  void start_drain() { draining_.store(true); }

  // Requests in the engine, so that the end of a drain can stop them. Thread-safe.
  void began(RequestId id);
  void ended(RequestId id);
  void cancel_all();

 private:
  Engine& engine_;
  const ServiceConfig config_;
  std::string fingerprint_;
  int64_t created_ = 0;
  Metrics metrics_;
  ConnectionCounts connections_;
  std::atomic<bool> draining_{false};
  std::mutex mutex_;  // guards live_
  std::unordered_set<RequestId> live_;
};

}  // namespace serval
