#include "apps/speed_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace serval {
namespace {

namespace json = boost::json;

double median_of(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

double rounded(double value) { return std::round(value * 1000) / 1000; }

std::string label(const SpeedRow& row) {
  return row.decode ? fmt::format("decode {}, depth {}, batch {}", row.tokens, row.depth, row.batch)
                    : fmt::format("prompt {}", row.tokens);
}

// K and V that one sequence's step reads with so many tokens before it: layers with a sliding
// window no more than the window.
double kv_bytes_read(const ModelPlan& plan, int tokens) {
  const ModelConfig& config = plan.config;
  double seen = 0;  // tokens, over all layers
  for (int layer = 0; layer < config.layers; ++layer) {
    seen += config.layer_is_local(layer) ? std::min(tokens, config.sliding_window) : tokens;
  }
  return seen * static_cast<double>(plan.kv_bytes_per_token) / config.layers;
}

struct Work {
  double bytes = 0, macs = 0;
};

// Per token, of the whole row.
Work work_per_token(const SpeedRow& row, const ModelPlan& plan, int batch_tokens) {
  const auto weights = static_cast<double>(plan.step_weight_bytes);
  const auto layers = static_cast<double>(plan.macs_per_token);
  const auto head = static_cast<double>(plan.head_macs);
  if (!row.decode) {
    const double steps = std::ceil(row.tokens / static_cast<double>(batch_tokens));
    return {steps * weights / row.tokens + static_cast<double>(plan.kv_bytes_per_token),
            layers + head / row.tokens};  // only the last token needs logits
  }
  double kv = 0;
  for (int i = 0; i < row.tokens; ++i) kv += kv_bytes_read(plan, row.depth + i);
  return {weights / row.batch + kv / row.tokens, layers + head};
}

RooflineShare share_of(const Repetition& repetition, const Work& work) {
  const MachineLimits limits = mean_of(repetition.before, repetition.after);
  const double rate = repetition.tokens_per_second / 1e9;
  const double memory = rate * work.bytes / limits.gbytes_per_second;
  const double compute = rate * work.macs / limits.gmacs_per_second;
  const MachineLimits& a = repetition.before;
  const MachineLimits& b = repetition.after;
  const bool cores = agree(a.gmacs_per_second, b.gmacs_per_second);
  if (memory >= compute) {
    return {100 * memory, "memory", cores && agree(a.gbytes_per_second, b.gbytes_per_second)};
  }
  return {100 * compute, "compute", cores};
}

// Sets what is taken over the steady repetitions.
void take_medians(const SpeedRow& row, SpeedFigures& f) {
  f.unsteady = static_cast<int>(
      std::count_if(f.shares.begin(), f.shares.end(), [](const auto& s) { return !s.steady; }));
  const bool all = f.unsteady == static_cast<int>(f.shares.size());
  std::vector<double> percents, gbytes, gmacs, float_gmacs;
  size_t memory_bound = 0;
  for (size_t i = 0; i < f.shares.size(); ++i) {
    if (!f.shares[i].steady && !all) continue;
    const MachineLimits limits = mean_of(row.repetitions[i].before, row.repetitions[i].after);
    percents.push_back(f.shares[i].percent);
    gbytes.push_back(limits.gbytes_per_second);
    gmacs.push_back(limits.gmacs_per_second);
    float_gmacs.push_back(limits.float_gmacs_per_second);
    memory_bound += f.shares[i].bound[0] == 'm' ? 1 : 0;
  }
  f.roofline_percent = median_of(percents);
  f.bound = 2 * memory_bound >= percents.size() ? "memory" : "compute";
  f.limits = {median_of(gbytes), median_of(gmacs), median_of(float_gmacs)};
}

}  // namespace

SpeedFigures figures(const SpeedRow& row, const ModelPlan& plan, int batch_tokens) {
  SpeedFigures f;
  if (row.repetitions.empty()) return f;
  const Work work = work_per_token(row, plan, batch_tokens);
  std::vector<double> rates;
  for (const Repetition& repetition : row.repetitions) {
    rates.push_back(repetition.tokens_per_second);
    f.shares.push_back(share_of(repetition, work));
  }
  f.median = median_of(rates);
  f.best = *std::max_element(rates.begin(), rates.end());
  f.gbytes = f.median * work.bytes / 1e9;
  f.gmacs = f.median * work.macs / 1e9;
  take_medians(row, f);
  return f;
}

std::string table_head() {
  return fmt::format("{:<32}{:>12}{:>12}{:>9}{:>7}{:>10}{:>7}{:>11}\n", "test", "t/s median",
                     "t/s best", "GB/s", "of", "GMAC/s", "of", "% of roof");
}

std::string table_line(const SpeedRow& row, const SpeedFigures& f) {
  return fmt::format(
      "{:<32}{:>12.2f}{:>12.2f}{:>9.2f}{:>7.1f}{:>10.1f}{:>7.0f}{:>7.1f} {}{}\n", label(row),
      f.median, f.best, f.gbytes, f.limits.gbytes_per_second, f.gmacs, f.limits.gmacs_per_second,
      f.roofline_percent, f.bound[0] == 'm' ? "mem" : "cpu",
      f.unsteady > 0 ? fmt::format("  {} of {} unsteady", f.unsteady, row.repetitions.size()) : "");
}

json::object row_json(const SpeedRow& row, const SpeedFigures& f) {
  json::array repetitions;
  for (size_t i = 0; i < row.repetitions.size(); ++i) {
    const Repetition& one = row.repetitions[i];
    repetitions.push_back(json::object{{"tokens_per_second", rounded(one.tokens_per_second)},
                                       {"roofline_percent", rounded(f.shares[i].percent)},
                                       {"bound", f.shares[i].bound},
                                       {"steady", f.shares[i].steady},
                                       {"others_percent", rounded(one.others_percent)},
                                       {"before", limits_json(one.before)},
                                       {"after", limits_json(one.after)}});
  }
  return {{"test", row.decode ? "decode" : "prompt"},
          {"tokens", row.tokens},
          {"depth", row.depth},
          {"batch", row.batch},
          {"tokens_per_second", rounded(f.median)},
          {"tokens_per_second_best", rounded(f.best)},
          {"gbytes_per_second", rounded(f.gbytes)},
          {"gmacs_per_second", rounded(f.gmacs)},
          {"roofline_percent", rounded(f.roofline_percent)},
          {"bound", f.bound},
          {"limits", limits_json(f.limits)},
          {"unsteady", f.unsteady},
          {"repetitions", std::move(repetitions)}};
}

}  // namespace serval
