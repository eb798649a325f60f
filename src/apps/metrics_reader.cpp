// Rates are differences over the last second, latencies come from the histograms of the last
// minute: within a bucket every value is taken to be equally likely, as Prometheus does.
#include "apps/metrics_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <boost/json/string.hpp>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "serval/error.h"

namespace serval {
namespace {

constexpr double kRateMs = 1000;
constexpr double kLatencyMs = 60'000;

std::string text_json(std::string_view text) {
  return boost::json::serialize(boost::json::string(text));
}

// The value of a label inside {a="b",le="0.5"}; empty: not there.
std::string_view label(std::string_view labels, std::string_view name) {
  const size_t at = labels.find(fmt::format("{}=\"", name));
  if (at == std::string_view::npos) return {};
  const size_t begin = at + name.size() + 2;
  const size_t end = labels.find('"', begin);
  return end == std::string_view::npos ? std::string_view() : labels.substr(begin, end - begin);
}

// In seconds; NaN: nothing was counted.
double quantile(const std::vector<std::pair<double, double>>& buckets, double share) {
  if (buckets.empty() || buckets.back().second <= 0) {
    return std::numeric_limits<double>::quiet_NaN();
  }
  const double rank = share * buckets.back().second;
  double low = 0;
  double counted = 0;
  for (const auto& [bound, count] : buckets) {
    if (count >= rank) {
      if (!std::isfinite(bound)) return low;
      return low + (bound - low) * (rank - counted) / std::max(count - counted, 1e-9);
    }
    low = bound;
    counted = count;
  }
  return low;
}

}  // namespace

double MetricsReader::Reading::value(std::string_view name) const {
  const auto found = values.find(name);
  return found == values.end() ? 0 : found->second;
}

MetricsReader::Reading MetricsReader::parse(std::string_view text, double now_ms) {
  Reading reading;
  reading.at_ms = now_ms;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const size_t space = line.rfind(' ');
    if (line.empty() || line.front() == '#' || space == std::string_view::npos) continue;
    const double value = std::strtod(std::string(line.substr(space + 1)).c_str(), nullptr);
    const size_t brace = std::min(line.find('{'), space);
    const std::string_view name = line.substr(0, brace);
    const std::string_view labels = line.substr(brace, space - brace);
    if (const std::string_view le = label(labels, "le"); !le.empty()) {
      Buckets* buckets = name.starts_with("vllm:time_to_first_token_")   ? &reading.first_token
                         : name.starts_with("vllm:inter_token_latency_") ? &reading.gap
                                                                         : nullptr;
      // strtod understands "+Inf".
      if (buckets != nullptr) {
        buckets->emplace_back(std::strtod(std::string(le).c_str(), nullptr), value);
      }
      continue;
    }
    if (reading.model.empty()) reading.model = label(labels, "model_name");
    if (std::isfinite(value)) reading.values[std::string(name)] += value;
  }
  if (!reading.values.contains("serval:engine_steps_total")) {
    throw Error(ErrorCode::kCorrupt, "its /metrics are not those of a Serval server");
  }
  return reading;
}

void MetricsReader::take(std::string_view text, double now_ms, const OnEvent& on_event) {
  Reading reading = parse(text, now_ms);
  constexpr std::string_view kSteps = "serval:engine_steps_total";
  const bool anew = !readings_.empty() && reading.value(kSteps) < readings_.back().value(kSteps);
  if (anew) readings_.clear();
  readings_.push_back(std::move(reading));
  while (readings_.size() > 2 && readings_[1].at_ms <= now_ms - kLatencyMs) readings_.pop_front();
  if (readings_.size() == 1) {
    ++starts_;
    on_event("hello", hello());
  }
  on_event("frame", frame());
}

// The newest reading that is at least so old; else the oldest.
const MetricsReader::Reading& MetricsReader::before(double ms) const {
  const double at = readings_.back().at_ms - ms;
  for (auto it = readings_.rbegin(); it != readings_.rend(); ++it) {
    if (it->at_ms <= at) return *it;
  }
  return readings_.front();
}

std::string MetricsReader::hello() const {
  const Reading& now = readings_.back();
  const double ratio = now.value("serval:roofline_ratio");
  const double achieved = now.value("serval:step_read_bytes_per_second") / 1e9;
  return fmt::format(
      R"({{"v":1,"origin":"metrics","server":{{"version":"","instance":"{}","up_ms":0}},"t_ms":{:.0f},)"
      R"("unix_ms":0,"machine":{{"isa":"","cores":0,"limit_gbs":{},"limit_gmacs":null,)"
      R"("measured_at":null}},"model":{{"id":{},"layers":0,"ctx":0,"type":"","parameters":0,)"
      R"("weight_bytes":0}},"kv":{{"blocks":{:.0f},"block_tokens":1,"block_bytes":0,)"
      R"("tiers":["memory"]}},"target":{{"itl_ms":0}},"hz":0,"power":"not in /metrics"}})",
      starts_, now.at_ms, ratio > 0 ? fmt::format("{:.4g}", achieved / ratio) : "null",
      text_json(now.model), now.value("serval:kv_cache_tokens"));
}

std::string MetricsReader::latency(const Buckets& before, const Buckets& now) {
  Buckets counted = now;
  for (size_t i = 0; i < counted.size() && i < before.size(); ++i) {
    counted[i].second -= before[i].second;
  }
  const auto one = [&](double share) {
    const double seconds = quantile(counted, share);
    return std::isnan(seconds) ? std::string("null") : fmt::format("{:.4g}", 1000 * seconds);
  };
  return fmt::format("[{},{}]", one(0.5), one(0.99));
}

std::string MetricsReader::frame() const {
  const Reading& now = readings_.back();
  const Reading& then = before(kRateMs);
  const Reading& minute = before(kLatencyMs);
  const double seconds = (now.at_ms - then.at_ms) / 1000;
  const auto grown = [&](std::string_view name) {
    return std::max(0.0, now.value(name) - then.value(name));
  };
  const auto rate = [&](std::string_view name) { return seconds > 0 ? grown(name) / seconds : 0; };
  const double computing = grown("serval:step_seconds_sum");
  const auto while_computing = [&](std::string_view name) {
    return computing > 0 ? grown(name) / computing / 1e9 : 0;
  };
  const double busy = seconds > 0 ? std::min(1.0, computing / seconds) : 0;
  const double all = now.value("serval:kv_cache_tokens");
  const double used = std::round(now.value("vllm:kv_cache_usage_perc") * all);
  const double cached = now.value("serval:kv_cache_tokens_cached");
  std::string out = fmt::format(
      R"({{"seq":{:.0f},"t_ms":{:.0f},"tok":{{"dec":{:.6g},"pre":{:.6g},"rec":0,"spec":0}},)",
      now.value("serval:engine_steps_total"), now.at_ms, rate("vllm:generation_tokens_total"),
      rate("serval:prompt_tokens_computed_total"));
  out += fmt::format(
      R"("roof":{{"gbs":{:.5g},"gmacs":{:.5g},"busy":{:.4g},"bound":"{}"}},"q":{{"run":{:.0f},)"
      R"("wait":{:.0f},"preempted":{:.0f}}},"lat":{{"ttft":{},"itl":{}}},)",
      while_computing("serval:step_read_bytes_total"),
      while_computing("serval:operator_macs_total"), busy, busy > 0 ? "unknown" : "idle",
      now.value("vllm:num_requests_running"), now.value("vllm:num_requests_waiting"),
      now.value("vllm:num_preemptions_total"), latency(minute.first_token, now.first_token),
      latency(minute.gap, now.gap));
  out += fmt::format(
      R"("kv":{{"free":{:.0f},"live":{:.0f},"shared":0,"cached":{:.0f},"pinned":0,"disk":{:.0f}}},)",
      std::max(0.0, all - used - cached), used, cached, now.value("serval:disk_cache_blocks"));
  return out + fmt::format(
                   R"("total":{{"steps":{:.0f},"dec":{:.0f},"prompt":{:.0f},"cached":{:.0f},)"
                   R"("us":{:.0f},"pred_us":{:.0f},"bytes":{:.0f}}},"lost":0}})",
                   now.value("serval:engine_steps_total"),
                   now.value("vllm:generation_tokens_total"), now.value("vllm:prompt_tokens_total"),
                   now.value("vllm:prefix_cache_hits_total"),
                   1e6 * now.value("serval:step_seconds_sum"),
                   1e6 * now.value("serval:step_predicted_seconds_total"),
                   now.value("serval:step_read_bytes_total"));
}

}  // namespace serval
