#include "server/monitor/tabs.h"

#include <algorithm>
#include <boost/json.hpp>

#include "backend/forward_batch.h"
#include "base/utf8.h"

namespace serval {
namespace {

namespace json = boost::json;

double milliseconds(int64_t us) { return static_cast<double>(us) / 1000; }

json::value unless_zero(double value) { return value > 0 ? json::value(value) : json::value(); }

// The work of an operator of a layer, or nothing.
OperatorWork work_of(std::span<const OperatorWork> work, Operator op, int layer) {
  const auto found = std::find_if(work.begin(), work.end(), [&](const OperatorWork& w) {
    return w.op == op && w.layer == layer;
  });
  OperatorWork none;
  none.op = op;
  none.layer = layer;
  return found == work.end() ? none : *found;
}

json::object row(const OperatorWork& work, const std::string& what, uint64_t weight_bytes,
                 uint64_t macs) {
  return {{"layer", work.layer},
          {"op", kOperatorNames[static_cast<size_t>(work.op)]},
          {"what", replace_invalid_utf8(what)},
          {"weight_bytes", weight_bytes},
          {"token_macs", macs},
          {"calls", work.calls},
          {"ms", static_cast<double>(work.nanoseconds) / 1e6},
          {"bytes", work.bytes},
          {"macs", work.macs}};
}

}  // namespace

std::string plan_json(const ModelInfo& model, std::span<const OperatorWork> work,
                      const MonitorIdentity& identity, int64_t since_epoch_us) {
  json::array rows;
  for (const PlannedOperator& p : model.plan) {
    rows.push_back(row(work_of(work, p.op, p.layer), p.what, p.weight_bytes, p.macs));
  }
  // What has no weights and is in no plan, but takes time.
  for (const Operator op : {Operator::kBegin, Operator::kSample}) {
    rows.push_back(row(work_of(work, op, -1), "", 0, 0));
  }
  return json::serialize(json::object{{"t_ms", milliseconds(since_epoch_us)},
                                      {"device", model.backend},
                                      {"kernel", model.kernels},
                                      {"threads", model.threads},
                                      {"limit_gbs", unless_zero(identity.limit_gbs)},
                                      {"limit_gmacs", unless_zero(identity.limit_gmacs)},
                                      {"weight_bytes", model.weight_bytes},
                                      {"workspace_bytes", model.workspace_bytes},
                                      {"rows", std::move(rows)}});
}

std::string tiers_json(const ModelInfo& model, const EngineStats& stats,
                       const std::array<int64_t, kBlockStates>& blocks,
                       const MonitorIdentity& identity, int64_t since_epoch_us) {
  int64_t all = 0;
  for (const int64_t count : blocks) all += count;
  const auto state = [&](BlockState s) { return blocks[static_cast<size_t>(s)]; };
  const int64_t cached = state(BlockState::kCached) + state(BlockState::kCachedOnDisk);
  const uint64_t block = all > 0 ? model.kv_bytes / static_cast<uint64_t>(all) : 0;
  json::object memory{{"blocks", all},
                      {"bytes", model.kv_bytes},
                      {"block_bytes", block},
                      {"free", state(BlockState::kFree)},
                      {"held", all - state(BlockState::kFree) - cached},
                      {"cached", cached},
                      {"also_on_disk", state(BlockState::kCachedOnDisk)},
                      {"hit_tokens", stats.cached_tokens - stats.disk_cached_tokens}};
  json::value disk;
  if (identity.disk) {
    disk = json::object{{"blocks", stats.disk_blocks},
                        {"bytes", stats.disk_bytes},
                        {"limit_bytes", identity.disk_bytes},
                        {"written", stats.disk_blocks_written},
                        {"dropped", stats.disk_blocks_dropped},
                        {"damaged", stats.disk_blocks_damaged},
                        {"write_errors", stats.disk_write_errors},
                        {"hit_tokens", stats.disk_cached_tokens}};
  }
  return json::serialize(
      json::object{{"t_ms", milliseconds(since_epoch_us)},
                   {"block_tokens", kBlockTokens},
                   {"prompt_tokens", stats.prompt_tokens},
                   {"computed_tokens", stats.prompt_tokens - stats.cached_tokens},
                   {"memory", std::move(memory)},
                   {"disk", std::move(disk)}});
}

std::string doctor_json(std::span<const Finding> at_start, std::span<const Finding> now,
                        int64_t since_epoch_us) {
  json::array findings;
  const auto add = [&](const Finding& f, bool live) {
    findings.push_back(json::object{{"name", f.name},
                                    {"status", f.advice.empty() ? "ok" : "warn"},
                                    {"value", replace_invalid_utf8(f.value)},
                                    {"advice", replace_invalid_utf8(f.advice)},
                                    {"live", live}});
  };
  for (const Finding& finding : now) add(finding, true);
  for (const Finding& finding : at_start) add(finding, false);
  return json::serialize(
      json::object{{"t_ms", milliseconds(since_epoch_us)}, {"findings", std::move(findings)}});
}

}  // namespace serval
