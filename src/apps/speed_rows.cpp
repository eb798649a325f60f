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

}  // namespace

SpeedFigures figures(const SpeedRow& row, const ModelPlan& plan, int batch_tokens,
                     const MachineLimits& limits) {
  SpeedFigures f;
  if (row.rates.empty()) return f;
  f.median = median_of(row.rates);
  f.best = *std::max_element(row.rates.begin(), row.rates.end());
  // Bytes and MACs of the whole row, over all its tokens.
  double bytes = 0;
  double macs = 0;
  const double tokens = static_cast<double>(row.tokens) * row.batch;
  const double per_token = static_cast<double>(plan.macs_per_token);
  const double head = static_cast<double>(plan.head_macs);
  const double kv = static_cast<double>(plan.kv_bytes_per_token);
  if (row.decode) {
    const double mean_depth = row.depth + row.tokens / 2.0;
    bytes =
        row.tokens * (static_cast<double>(plan.step_weight_bytes) + row.batch * kv * mean_depth);
    macs = tokens * (per_token + head);
  } else {
    const double steps = std::ceil(row.tokens / static_cast<double>(batch_tokens));
    bytes = steps * static_cast<double>(plan.step_weight_bytes) + tokens * kv;
    macs = tokens * per_token + head;  // only the last row needs logits
  }
  const double seconds = tokens / f.median;
  f.gbytes = bytes / seconds / 1e9;
  f.gmacs = macs / seconds / 1e9;
  const double memory_bound =
      limits.gbytes_per_second > 0 ? f.gbytes / limits.gbytes_per_second : 0;
  const double compute_bound = limits.gmacs_per_second > 0 ? f.gmacs / limits.gmacs_per_second : 0;
  f.roofline_percent = 100 * std::max(memory_bound, compute_bound);
  f.bound = memory_bound >= compute_bound ? "memory" : "compute";
  return f;
}

std::string table_head() {
  return fmt::format("{:<32}{:>12}{:>12}{:>9}{:>10}{:>11}\n", "test", "t/s median", "t/s best",
                     "GB/s", "GMAC/s", "% of roof");
}

std::string table_line(const SpeedRow& row, const SpeedFigures& f) {
  return fmt::format("{:<32}{:>12.2f}{:>12.2f}{:>9.2f}{:>10.1f}{:>8.1f} {}\n", label(row), f.median,
                     f.best, f.gbytes, f.gmacs, f.roofline_percent,
                     f.bound[0] == 'm' ? "mem" : "cpu");
}

json::object row_json(const SpeedRow& row, const SpeedFigures& f) {
  json::array rates;
  for (const double rate : row.rates) rates.push_back(rounded(rate));
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
          {"rates", std::move(rates)}};
}

}  // namespace serval
