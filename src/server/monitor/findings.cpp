#include "server/monitor/findings.h"

#include <fmt/format.h>

#include "engine/memory.h"

namespace serval {
namespace {

constexpr uint64_t kFewSteps = 100;
constexpr double kTrusted = 0.25;  // error of the cost model that is still fine
constexpr uint64_t kLittleMemory = uint64_t{256} << 20;

double percent(uint64_t part, uint64_t whole) {
  return whole == 0 ? 0 : 100 * static_cast<double>(part) / static_cast<double>(whole);
}

Finding memory_left() {
  const MachineMemory memory = machine_memory();
  if (memory.total == 0) return {"memory left", "not told by the system", ""};
  return {"memory left",
          fmt::format("{:.1f} of {:.1f} GB now", static_cast<double>(memory.available) / 1e9,
                      static_cast<double>(memory.total) / 1e9),
          memory.available < kLittleMemory ? "other programs may be ended by the system soon" : ""};
}

Finding cost_model(const EngineStats& s) {
  if (s.steps < kFewSteps || s.step_us == 0) return {"cost model", "too few steps to tell", ""};
  const double ratio = static_cast<double>(s.predicted_step_us) / static_cast<double>(s.step_us);
  const bool good = ratio > 1 - kTrusted && ratio < 1 + kTrusted;
  return {"cost model",
          fmt::format("predicted {:.0f} % of the time that {} steps took", 100 * ratio, s.steps),
          good ? ""
               : "other programs share the processor: gaps between tokens may exceed --max-itl-ms"};
}

Finding kv_pool(const EngineStats& s) {
  const double used =
      percent(static_cast<uint64_t>(s.kv_tokens_used), static_cast<uint64_t>(s.kv_tokens_total));
  return {
      "KV pool", fmt::format("{:.0f} % of {} tokens in use now", used, s.kv_tokens_total),
      used > 95 && s.waiting > 0 ? "requests wait for KV memory: a larger -c lets them begin" : ""};
}

Finding preemptions(const EngineStats& s) {
  return {"preemptions", fmt::format("{}", s.preemptions),
          s.preemptions == 0 ? "" : "KV memory ran out and rows were computed again: a larger -c"};
}

Finding prefix_cache(const EngineStats& s) {
  return {"prefix cache",
          fmt::format("{:.1f} % of {} prompt tokens were found",
                      percent(s.cached_tokens, s.prompt_tokens), s.prompt_tokens),
          ""};
}

Finding disk(const EngineStats& s, bool there) {
  if (!there) return {"disk tier", "none: --kv-cache-dir would keep prompts on disk", ""};
  if (s.disk_write_errors > 0) {
    return {"disk tier", fmt::format("{} write errors", s.disk_write_errors),
            "nothing more is written to --kv-cache-dir: look at its disk, then start anew"};
  }
  return {"disk tier", fmt::format("{} blocks, {} damaged", s.disk_blocks, s.disk_blocks_damaged),
          s.disk_blocks_damaged > 0 ? "damaged blocks were left out; is the disk sound?" : ""};
}

Finding limits_met(const ConnectionCounts& connections) {
  std::string met;
  for (size_t i = 0; i < kLimitNames.size(); ++i) {
    const auto count = connections.limit_hits[i].load();
    if (count > 0) met += fmt::format("{}{} {}", met.empty() ? "" : ", ", kLimitNames[i], count);
  }
  return {"limits met by clients", met.empty() ? "none" : met, ""};
}

}  // namespace

std::vector<Finding> server_findings(const ModelInfo& model, const EngineStats& stats,
                                     const ConnectionCounts& connections,
                                     const std::vector<std::string>& notices,
                                     const std::string& power, bool has_disk) {
  std::vector<Finding> out = {memory_left(),          cost_model(stats),   kv_pool(stats),
                              preemptions(stats),     prefix_cache(stats), disk(stats, has_disk),
                              limits_met(connections)};
  out.push_back({"power meter", power, ""});
  for (const std::string& text : model.warnings) {
    out.push_back({"model", "loaded with a warning", text});
  }
  for (const std::string& text : notices) {
    out.push_back({"options", "one has no effect", text});
  }
  return out;
}

}  // namespace serval
