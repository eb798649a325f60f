// History: an hour in seconds and a day in ten-second steps, in memory that was taken at the start.
// A plain object; owned by the Monitor.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "server/monitor/quantiles.h"

namespace serval {

// One interval; what is not known is NaN.
inline constexpr std::array<std::string_view, 9> kSeriesNames = {
    "dec", "pre", "busy", "gbs", "gmacs", "run", "wait", "kv", "power_w"};
using Series = std::array<float, kSeriesNames.size()>;
inline constexpr std::array<std::string_view, 4> kLatencyNames = {"ttft50", "ttft99", "itl50",
                                                                  "itl99"};

struct HistoryPoint {
  int64_t end_us = 0;
  Series mean{}, min{}, max{};
  std::array<float, kLatencyNames.size()> latency{};
  uint32_t evictions = 0;
};

class History {
 public:
  static constexpr size_t kSeconds = 3600;
  static constexpr size_t kTens = 8640;

  History() {
    seconds_.reserve(kSeconds);
    tens_.reserve(kTens);
  }

  // Once a second. `ttft`, `itl`: what was measured in it.
  void add(int64_t end_us, const Series& values, const LargeTimeCounts& ttft,
           const LargeTimeCounts& itl, uint32_t evictions);

  // The newest `most` points, oldest first.
  std::vector<HistoryPoint> seconds(size_t most) const { return newest(seconds_, kSeconds, most); }
  std::vector<HistoryPoint> tens(size_t most) const { return newest(tens_, kTens, most); }

 private:
  struct Ring {
    std::vector<HistoryPoint> points;
    size_t next = 0;
    void reserve(size_t count) { points.reserve(count); }
  };
  static void push(Ring& ring, size_t capacity, const HistoryPoint& point);
  static std::vector<HistoryPoint> newest(const Ring& ring, size_t capacity, size_t most);

  Ring seconds_, tens_;
  // The ten seconds being collected.
  HistoryPoint ten_;
  Series known_{};  // seconds in which each series had a value
  LargeTimeCounts ttft_, itl_;
  int collected_ = 0;
};

}  // namespace serval
