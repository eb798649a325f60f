#include "server/service.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <functional>
#include <memory>
#include <random>

#include "base/utf8.h"

namespace serval {
namespace {

constexpr size_t kTextShown = 80;  // characters

std::string fresh_instance() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}", random(), random());
}

MonitorIdentity monitor_identity(const ServiceConfig& config) {
  MonitorIdentity identity;
  identity.version = SERVAL_VERSION;
  identity.instance = fresh_instance();
  identity.model = config.model;
  identity.limit_gbs = config.read_bandwidth / 1e9;
  identity.limit_gmacs = config.dot_peak / 1e9;
  identity.measured_unix_ms = config.limits_unix_ms;
  identity.itl_ms = config.max_itl_ms;
  identity.disk = config.kv_disk;
  identity.disk_bytes = config.kv_disk_bytes;
  identity.text = config.monitor_text ? kTextShown : 0;
  return identity;
}

}  // namespace

Service::Service(Engine& engine, ServiceConfig config)
    : engine_(engine),
      config_(std::move(config)),
      infill_tokens_(find_infill_tokens(engine)),
      created_(std::time(nullptr)),
      monitor_(engine, monitor_identity(config_)),
      snapshots_(engine, config_.snapshots) {
  // Changes when results may: another file, another kernel family, another version.
  const ModelInfo& info = engine.info();
  const std::string identity = fmt::format("{} {} {} {} {}", SERVAL_VERSION, info.name,
                                           info.file_bytes, info.backend, info.kernels);
  fingerprint_ = fmt::format("fp_{:012x}", std::hash<std::string>{}(identity)&0xFFFFFFFFFFFFULL);
  RecentLog& log = monitor_.log();
  log.add(LogLevel::kInfo, "started",
          {{"version", SERVAL_VERSION},
           {"model", config_.model},
           {"load_ms", static_cast<int64_t>(info.load_ms)},
           {"context", info.context},
           {"kv_tokens", engine.stats().kv_tokens_total},
           {"threads", info.threads},
           {"kernels", info.kernels}});
  for (const std::string& text : info.warnings) {
    log.add(LogLevel::kWarn, "model_warning", {{"text", replace_invalid_utf8(text)}});
  }
  for (const std::string& text : config_.notices) {
    log.add(LogLevel::kWarn, "option", {{"text", text}});
  }
}

bool Service::serves(const std::string& model) const {
  return model.empty() || model == config_.model ||
         std::find(config_.aliases.begin(), config_.aliases.end(), model) != config_.aliases.end();
}

void Service::began(RequestId id) {
  const std::lock_guard lock(mutex_);
  live_.insert(id);
}

void Service::ended(RequestId id) {
  const std::lock_guard lock(mutex_);
  live_.erase(id);
}

bool Service::cancel(RequestId id) {
  {
    const std::lock_guard lock(mutex_);
    if (!live_.contains(id)) return false;
  }
  engine_.cancel(id);
  return true;
}

void Service::start_drain() {
  draining_.store(true);
  monitor_.log().add(LogLevel::kInfo, "draining", {});
  monitor_.stop();
}

void Service::cancel_all() {
  std::vector<RequestId> ids;
  {
    const std::lock_guard lock(mutex_);
    ids.assign(live_.begin(), live_.end());
  }
  for (const RequestId id : ids) engine_.cancel(id);
}

Service::KeyShare Service::enter(const std::string& key, int requests) {
  const bool counted = !key.empty() && config_.key_requests > 0;
  if (!counted) return std::make_shared<int>(requests);
  {
    const std::lock_guard lock(mutex_);
    int& held = in_flight_[key];
    if (held + requests > config_.key_requests) {
      ++metrics_.key_refusals;
      return nullptr;
    }
    held += requests;
  }
  const auto leave = [this, key](int* count) {
    const std::unique_ptr<int> owned(count);
    const std::lock_guard lock(mutex_);
    in_flight_[key] -= *owned;
  };
  return {new int(requests), leave};
}

void Service::note(const std::string& exchange, const RequestCost& cost) {
  const std::lock_guard lock(mutex_);
  notes_[exchange] = cost;
}

std::optional<RequestCost> Service::take_note(const std::string& exchange) {
  const std::lock_guard lock(mutex_);
  const auto found = notes_.find(exchange);
  if (found == notes_.end()) return std::nullopt;
  const RequestCost cost = found->second;
  notes_.erase(found);
  return cost;
}

}  // namespace serval
