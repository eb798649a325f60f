// Replies of the routes behind the monitor page's tabs, as JSON; docs/reference/monitor.schema.json
// says how they look: what runs where and what it cost, where KV is kept, what could be better.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "server/monitor/encode.h"
#include "server/monitor/findings.h"

namespace serval {

std::string plan_json(const ModelInfo& model, std::span<const OperatorWork> work,
                      const MonitorIdentity& identity, int64_t since_epoch_us);
std::string tiers_json(const ModelInfo& model, const EngineStats& stats,
                       const std::array<int64_t, kBlockStates>& blocks,
                       const MonitorIdentity& identity, int64_t since_epoch_us);
std::string doctor_json(std::span<const Finding> at_start, std::span<const Finding> now,
                        int64_t since_epoch_us);

}  // namespace serval
