#include "server/monitor/history.h"

#include <algorithm>
#include <limits>

namespace serval {
namespace {

constexpr float kUnknown = std::numeric_limits<float>::quiet_NaN();
constexpr int kSecondsOfTen = 10;

float or_unknown(std::optional<double> value) {
  return value ? static_cast<float>(*value) : kUnknown;
}

void set_latencies(HistoryPoint& point, const LargeTimeCounts& ttft, const LargeTimeCounts& itl) {
  point.latency = {or_unknown(ttft.quantile(0.5)), or_unknown(ttft.quantile(0.99)),
                   or_unknown(itl.quantile(0.5)), or_unknown(itl.quantile(0.99))};
}

}  // namespace

void History::add(int64_t end_us, const Series& values, const LargeTimeCounts& ttft,
                  const LargeTimeCounts& itl, uint32_t evictions) {
  HistoryPoint second;
  second.end_us = end_us;
  second.mean = second.min = second.max = values;
  second.evictions = evictions;
  set_latencies(second, ttft, itl);
  push(seconds_, kSeconds, second);

  if (collected_ == 0) {
    ten_ = HistoryPoint();
    known_ = {};
    ttft_ = itl_ = {};
  }
  for (size_t i = 0; i < values.size(); ++i) {
    const float value = values[i];
    if (std::isnan(value)) continue;
    const bool first = known_[i] == 0;
    ten_.mean[i] += value;
    ten_.min[i] = first ? value : std::min(ten_.min[i], value);
    ten_.max[i] = first ? value : std::max(ten_.max[i], value);
    ++known_[i];
  }
  ttft_.add(ttft);
  itl_.add(itl);
  ten_.evictions += evictions;
  if (++collected_ < kSecondsOfTen) return;
  collected_ = 0;
  ten_.end_us = end_us;
  for (size_t i = 0; i < values.size(); ++i) {
    if (known_[i] > 0) {
      ten_.mean[i] /= known_[i];
    } else {
      ten_.mean[i] = ten_.min[i] = ten_.max[i] = kUnknown;
    }
  }
  set_latencies(ten_, ttft_, itl_);
  push(tens_, kTens, ten_);
}

void History::push(Ring& ring, size_t capacity, const HistoryPoint& point) {
  if (ring.points.size() < capacity) {
    ring.points.push_back(point);
    return;
  }
  ring.points[ring.next] = point;
  ring.next = (ring.next + 1) % capacity;
}

std::vector<HistoryPoint> History::newest(const Ring& ring, size_t capacity, size_t most) {
  const size_t size = ring.points.size();
  const size_t count = std::min(most, size);
  std::vector<HistoryPoint> out;
  out.reserve(count);
  for (size_t i = size - count; i < size; ++i) {
    out.push_back(ring.points[size < capacity ? i : (ring.next + i) % capacity]);
  }
  return out;
}

}  // namespace serval
