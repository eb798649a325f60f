#include "watch/step_ring.h"

#include <algorithm>
#include <utility>

namespace serval {
namespace {

uint64_t word(int64_t value) { return static_cast<uint64_t>(value); }

// Two numbers below 2^32.
uint64_t pair(int32_t high, int32_t low) {
  return uint64_t{static_cast<uint32_t>(high)} << 32 | static_cast<uint32_t>(low);
}
int32_t high(uint64_t both) { return static_cast<int32_t>(both >> 32); }
int32_t low(uint64_t both) { return static_cast<int32_t>(both & 0xFFFFFFFFU); }

// Rows and kind of a span share 32 bits.
constexpr int kKindShift = 28;
constexpr int32_t kRowsMask = (1 << kKindShift) - 1;

}  // namespace

StepRing::StepRing(int most_spans)
    : steps_(kSteps), spans_(std::max(kSpans, static_cast<size_t>(most_spans))) {
  current_.spans.reserve(static_cast<size_t>(most_spans));
}

void StepRing::commit() {
  const StepRecord& r = current_;
  uint64_t last_span = spans_.newest();
  for (const StepSpan& span : r.spans) {
    const int32_t what = span.rows | static_cast<int32_t>(span.kind) << kKindShift;
    last_span = spans_.push({span.request, pair(what, span.context)});
  }
  current_.number = steps_.push({word(r.begin_us), word(r.end_us), word(r.predicted_us),
                                 pair(r.rows, r.decode_rows), pair(r.running, r.waiting),
                                 pair(r.preempted, r.blocks_used),
                                 pair(r.blocks_cached, static_cast<int32_t>(r.spans.size())),
                                 r.weight_bytes, r.kv_bytes, r.macs, last_span});
}

bool StepRing::read(uint64_t number, StepRecord& out) const {
  decltype(steps_)::Words w;
  if (!steps_.read(number, w)) return false;
  out.number = number;
  out.begin_us = static_cast<int64_t>(w[0]);
  out.end_us = static_cast<int64_t>(w[1]);
  out.predicted_us = static_cast<int64_t>(w[2]);
  out.rows = high(w[3]);
  out.decode_rows = low(w[3]);
  out.running = high(w[4]);
  out.waiting = low(w[4]);
  out.preempted = high(w[5]);
  out.blocks_used = low(w[5]);
  out.blocks_cached = high(w[6]);
  out.weight_bytes = w[7];
  out.kv_bytes = w[8];
  out.macs = w[9];
  out.spans.resize(static_cast<size_t>(low(w[6])));
  uint64_t span_number = w[10] - out.spans.size();
  for (StepSpan& span : out.spans) {
    decltype(spans_)::Words s;
    if (!spans_.read(++span_number, s)) return false;
    span.request = s[0];
    span.rows = high(s[1]) & kRowsMask;
    span.kind = static_cast<SpanKind>(high(s[1]) >> kKindShift);
    span.context = low(s[1]);
  }
  return true;
}

std::vector<StepRecord> StepRing::last(size_t most) const {
  const uint64_t newest = steps_.newest();
  return after(newest - std::min<uint64_t>(most, newest), most);
}

std::vector<StepRecord> StepRing::after(uint64_t number, size_t most) const {
  const uint64_t newest = steps_.newest();
  if (number >= newest) return {};
  number = std::max(number, newest - std::min<uint64_t>(newest, kSteps));
  std::vector<StepRecord> out;
  out.reserve(std::min<uint64_t>(most, newest - number));
  StepRecord record;
  while (number < newest && out.size() < most) {
    if (read(++number, record)) out.push_back(record);
  }
  return out;
}

}  // namespace serval
