#include "server/service.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <functional>

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
