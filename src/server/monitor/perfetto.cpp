// Protocol Buffers by hand: a message is a sequence of fields, each a varint key
// (number * 8 + wire type) and a varint (type 0), 8 bytes (type 1) or a length and bytes (type 2).
// https://protobuf.dev/programming-guides/encoding, field numbers from Perfetto's public
// trace_packet.proto, track_descriptor.proto, counter_descriptor.proto, track_event.proto and
// debug_annotation.proto.
#include "server/monitor/perfetto.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <string_view>

#include "base/utf8.h"

namespace serval {
namespace {

class Message {
 public:
  Message& varint(int field, uint64_t value) {
    key(field, 0);
    append(value);
    return *this;
  }
  Message& fixed64(int field, uint64_t value) {
    key(field, 1);
    for (int i = 0; i < 8; ++i) bytes_ += static_cast<char>(value >> (8 * i) & 0xFF);
    return *this;
  }
  Message& number(int field, double value) {
    return fixed64(field, std::bit_cast<uint64_t>(value));
  }
  Message& text(int field, std::string_view value) {
    key(field, 2);
    append(value.size());
    bytes_ += value;
    return *this;
  }
  Message& message(int field, const Message& value) { return text(field, value.bytes_); }
  const std::string& bytes() const { return bytes_; }

 private:
  void key(int field, int type) { append(static_cast<uint64_t>(field) << 3 | type); }
  void append(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>(value | 0x80);
    bytes_ += static_cast<char>(value);
  }
  std::string bytes_;
};

enum TrackEventType { kSliceBegin = 1, kSliceEnd = 2, kCounter = 4 };
constexpr int kUnitSizeBytes = 3;

// Tracks; requests follow.
enum Track : uint64_t { kProcess = 1, kSteps, kRequests, kRead, kRunning, kWaiting, kBlocks };
constexpr uint64_t kFirstRequest = 1000;

class Trace {
 public:
  void process(const std::string& name) {
    Message process;
    process.varint(1, 1).text(6, name);
    descriptor(Message().varint(1, kProcess).message(3, process));
  }
  void track(uint64_t id, uint64_t parent, std::string_view name) {
    descriptor(Message().varint(1, id).varint(5, parent).text(2, name));
  }
  void counter_track(uint64_t id, std::string_view name, int unit = 0) {
    Message counter;
    if (unit != 0) counter.varint(3, static_cast<uint64_t>(unit));
    descriptor(Message().varint(1, id).varint(5, kProcess).text(2, name).message(8, counter));
  }

  void begin(uint64_t track, int64_t at_us, std::string_view name, const Message& more = {}) {
    Message event;
    event.varint(9, kSliceBegin).varint(11, track).text(23, name);
    add(at_us, event, more);
  }
  void end(uint64_t track, int64_t at_us) {
    add(at_us, Message().varint(9, kSliceEnd).varint(11, track), {});
  }
  void count(uint64_t track, int64_t at_us, int64_t value) {
    Message event;
    event.varint(9, kCounter).varint(11, track).varint(30, static_cast<uint64_t>(value));
    add(at_us, event, {});
  }
  std::string take() { return std::move(out_); }

 private:
  static constexpr int kSequence = 1;

  // `more`: further fields of the event; messages can be joined end to end.
  void add(int64_t at_us, const Message& event, const Message& more) {
    Message packet;
    packet.varint(8, static_cast<uint64_t>(std::max<int64_t>(at_us, 0)) * 1000);
    packet.varint(10, kSequence).text(11, event.bytes() + more.bytes());
    out_ += Message().message(1, packet).bytes();
  }
  void descriptor(const Message& track) {
    out_ += Message().message(1, Message().varint(10, kSequence).message(60, track)).bytes();
  }
  std::string out_;
};

void annotate(Message& event, std::string_view name, int64_t value) {
  event.message(4, Message().text(10, name).varint(4, static_cast<uint64_t>(value)));
}

uint64_t flow_id(uint64_t step, RequestId request) { return step << 24 ^ request; }

void add_step(Trace& trace, const StepRecord& step) {
  const int64_t us = step.end_us - step.begin_us;
  const double bytes = static_cast<double>(step.weight_bytes + step.kv_bytes);
  Message more;
  annotate(more, "rows", step.rows);
  annotate(more, "decode rows", step.decode_rows);
  annotate(more, "predicted us", step.predicted_us);
  annotate(more, "bytes read", static_cast<int64_t>(step.weight_bytes + step.kv_bytes));
  annotate(more, "multiply-adds", static_cast<int64_t>(step.macs));
  annotate(more, "preempted", step.preempted);
  for (const StepSpan& span : step.spans) more.fixed64(47, flow_id(step.number, span.request));
  trace.begin(kSteps, step.begin_us, fmt::format("step {}", step.number), more);
  trace.end(kSteps, step.end_us);
  trace.count(kRead, step.begin_us,
              us > 0 ? static_cast<int64_t>(bytes / static_cast<double>(us) * 1e6) : 0);
  trace.count(kRunning, step.begin_us, step.running);
  trace.count(kWaiting, step.begin_us, step.waiting);
  trace.count(kBlocks, step.begin_us, step.blocks_used);
}

void add_span(Trace& trace, const StepRecord& step, const StepSpan& span) {
  constexpr std::string_view kNames[] = {"prefill", "decode", "recomputed", "speculative"};
  Message more;
  annotate(more, "rows", span.rows);
  annotate(more, "context", span.context);
  annotate(more, "step", static_cast<int64_t>(step.number));
  more.fixed64(48, flow_id(step.number, span.request));
  const uint64_t track = kFirstRequest + span.request;
  trace.begin(track, step.begin_us, kNames[static_cast<size_t>(span.kind)], more);
  trace.end(track, step.end_us);
}

}  // namespace

std::string perfetto_trace(const std::string& process, std::span<const StepRecord> steps,
                           std::span<const RequestTimes> requests) {
  Trace trace;
  trace.process(process);
  trace.track(kSteps, kProcess, "steps");
  trace.track(kRequests, kProcess, "requests");
  trace.counter_track(kRead, "read per second", kUnitSizeBytes);
  trace.counter_track(kRunning, "running");
  trace.counter_track(kWaiting, "waiting");
  trace.counter_track(kBlocks, "KV blocks in use");
  std::vector<RequestId> ids;
  for (const StepRecord& step : steps) {
    for (const StepSpan& span : step.spans) ids.push_back(span.request);
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  for (const RequestId id : ids) {
    const auto known = std::find_if(requests.begin(), requests.end(),
                                    [&](const RequestTimes& r) { return r.id == id; });
    const bool labelled = known != requests.end() && !known->label.empty();
    trace.track(kFirstRequest + id, kRequests,
                labelled ? fmt::format("{} {}", id, replace_invalid_utf8(known->label))
                         : fmt::format("{}", id));
    if (known == requests.end() || known->queued_us < 0 || known->began_us < 0) continue;
    Message more;
    annotate(more, "prompt", known->prompt);
    annotate(more, "cached", known->cached);
    trace.begin(kFirstRequest + id, known->queued_us, "queue", more);
    trace.end(kFirstRequest + id, known->began_us);
  }
  for (const StepRecord& step : steps) {
    add_step(trace, step);
    for (const StepSpan& span : step.spans) add_span(trace, step, span);
  }
  return trace.take();
}

}  // namespace serval
