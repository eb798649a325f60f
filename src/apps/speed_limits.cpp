#include "apps/speed_limits.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <string>
#include <string_view>
#include <thread>

namespace serval {
namespace {

template <typename Function>
MachineLimits combined(const MachineLimits& a, const MachineLimits& b, const Function& of) {
  return {of(a.gbytes_per_second, b.gbytes_per_second), of(a.gmacs_per_second, b.gmacs_per_second),
          of(a.float_gmacs_per_second, b.float_gmacs_per_second)};
}

}  // namespace

MachineLimits mean_of(const MachineLimits& a, const MachineLimits& b) {
  return combined(a, b, [](double x, double y) { return (x + y) / 2; });
}
MachineLimits lower_of(const MachineLimits& a, const MachineLimits& b) {
  return combined(a, b, [](double x, double y) { return std::min(x, y); });
}
MachineLimits higher_of(const MachineLimits& a, const MachineLimits& b) {
  return combined(a, b, [](double x, double y) { return std::max(x, y); });
}

bool agree(double a, double b) { return std::abs(a - b) <= kSteadyWithin * (a + b) / 2; }

boost::json::object limits_json(const MachineLimits& limits) {
  const auto rounded = [](double value) { return std::round(value * 1000) / 1000; };
  boost::json::object out{{"read_gbytes_per_second", rounded(limits.gbytes_per_second)},
                          {"dot_gmacs_per_second", rounded(limits.gmacs_per_second)}};
  if (limits.float_gmacs_per_second > 0) {
    out["float_gmacs_per_second"] = rounded(limits.float_gmacs_per_second);
  }
  return out;
}

// The plan's shapes begin with the format, as in "attn_qkv: BF16 [1152 x 896]".
DotKind dot_kind(std::span<const PlannedOperator> plan) {
  uint64_t all = 0;
  uint64_t bf16 = 0;
  uint64_t floats = 0;
  for (const PlannedOperator& planned : plan) {
    const size_t name = planned.what.find(": ");
    const std::string_view shape =
        std::string_view(planned.what).substr(name == std::string::npos ? 0 : name + 2);
    all += planned.macs;
    if (shape.starts_with("BF16 ")) bf16 += planned.macs;
    if (shape.starts_with("F16 ") || shape.starts_with("F32 ")) floats += planned.macs;
  }
  return 2 * bf16 > all ? DotKind::kBf16 : 2 * floats > all ? DotKind::kFloat : DotKind::kInt8;
}

const char* name_of(DotKind kind) {
  return kind == DotKind::kBf16 ? "bfloat16" : kind == DotKind::kFloat ? "float32" : "int8";
}

CpuSeconds cpu_seconds() {
  std::ifstream file("/proc/stat");
  std::string word;
  file >> word;
  CpuSeconds out;
  const auto ticks_per_second = static_cast<double>(sysconf(_SC_CLK_TCK));
  for (int i = 0; i < 8; ++i) {  // user, nice, system, idle, iowait, irq, softirq, steal
    double ticks = 0;
    file >> ticks;
    const double seconds = ticks / ticks_per_second;
    out.all += seconds;
    if (i == 3 || i == 4) out.idle += seconds;
    if (i == 7) out.stolen = seconds;
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  out.own = seconds(usage.ru_utime) + seconds(usage.ru_stime);
  return out;
}

double stolen_percent(const CpuSeconds& since, const CpuSeconds& now) {
  return 100 * (now.stolen - since.stolen) / std::max(0.01, now.all - since.all);
}

double others_percent(const CpuSeconds& since, const CpuSeconds& now) {
  const double all = now.all - since.all;
  const double others = all - (now.idle - since.idle) - (now.own - since.own);
  return 100 * std::max(0.0, others) / std::max(0.01, all);
}

MachineLimits LimitsProbe::measure(DotKind kind, bool with_float) {
  MachineLimits limits;
  limits.gbytes_per_second = probe_.read_bandwidth();
  limits.gmacs_per_second = probe_.dot_peak(kind);
  if (with_float) limits.float_gmacs_per_second = probe_.dot_peak(DotKind::kFloat);
  // Its idle workers look for work for two milliseconds: what is measured next has the cores alone.
  std::this_thread::sleep_for(std::chrono::milliseconds(3));
  return limits;
}

}  // namespace serval
