#include "server/service.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <functional>
#include <memory>

namespace serval {

Service::Service(Engine& engine, ServiceConfig config)
    : engine_(engine),
      config_(std::move(config)),
      infill_tokens_(find_infill_tokens(engine)),
      created_(std::time(nullptr)),
      snapshots_(engine, config_.snapshots) {
  // Changes when results may: another file, another kernel family, another version.
  const ModelInfo& info = engine.info();
  const std::string identity = fmt::format("{} {} {} {} {}", SERVAL_VERSION, info.name,
                                           info.file_bytes, info.backend, info.kernels);
  fingerprint_ = fmt::format("fp_{:012x}", std::hash<std::string>{}(identity)&0xFFFFFFFFFFFFULL);
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
