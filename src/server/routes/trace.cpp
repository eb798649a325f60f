// GET /admin/trace?steps=N: the last steps in Chrome's trace format (open in ui.perfetto.dev or
// chrome://tracing). One lane for the steps, one for each request that computed in them.
// https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <charconv>

#include "server/routes/answer.h"
#include "server/routes/routes.h"

namespace serval {
namespace {

namespace json = boost::json;

constexpr size_t kMostSteps = 4096;
constexpr int kStepsLane = 0;

json::object lane_name(RequestId lane, const std::string& name) {
  return {{"name", "thread_name"},
          {"ph", "M"},
          {"pid", 1},
          {"tid", lane},
          {"args", json::object{{"name", name}}}};
}

json::object interval(const StepRecord& step, const std::string& name, RequestId lane) {
  return {{"name", name}, {"ph", "X"},           {"pid", 1},
          {"tid", lane},  {"ts", step.begin_us}, {"dur", step.end_us - step.begin_us}};
}

json::object step_event(const StepRecord& step) {
  const double us = static_cast<double>(step.end_us - step.begin_us);
  const double bytes = static_cast<double>(step.weight_bytes + step.kv_bytes);
  json::object event = interval(step, fmt::format("step {}", step.number), kStepsLane);
  event["args"] = json::object{{"rows", step.rows},
                               {"decode_rows", step.decode_rows},
                               {"predicted_us", step.predicted_us},
                               {"running", step.running},
                               {"waiting", step.waiting},
                               {"preempted", step.preempted},
                               {"blocks_used", step.blocks_used},
                               {"blocks_cached", step.blocks_cached},
                               {"gb_per_s", us > 0 ? bytes / us / 1000 : 0.0}};
  return event;
}

json::object span_event(const StepRecord& step, const StepSpan& span) {
  constexpr const char* kNames[] = {"prefill", "decode", "recomputed", "speculative"};
  const char* kind = kNames[static_cast<size_t>(span.kind)];
  const std::string name =
      span.kind == SpanKind::kDecode ? kind : fmt::format("{} {}", kind, span.rows);
  json::object event = interval(step, name, span.request);
  event["args"] = json::object{{"rows", span.rows}, {"context", span.context}};
  return event;
}

// `steps=N` of the query; the most there are without it.
std::optional<size_t> steps_of(std::string_view query) {
  if (query.empty()) return kMostSteps;
  constexpr std::string_view kName = "steps=";
  size_t count = 0;
  const char* end = query.data() + query.size();
  if (!query.starts_with(kName)) return std::nullopt;
  const auto [stop, error] = std::from_chars(query.data() + kName.size(), end, count);
  if (error != std::errc() || stop != end || count == 0 || count > kMostSteps) return std::nullopt;
  return count;
}

}  // namespace

void trace(Service& service, const ExchangePtr& exchange) {
  const auto steps = steps_of(exchange->request().query);
  if (!steps) {
    answer_error(
        exchange,
        bad_field("steps", fmt::format("the query may be steps=N, N from 1 to {}", kMostSteps)));
    return;
  }
  json::array events{lane_name(kStepsLane, "steps")};
  for (const StepRecord& step : service.engine().last_steps(*steps)) {
    events.push_back(step_event(step));
    for (const StepSpan& span : step.spans) events.push_back(span_event(step, span));
  }
  answer_json(exchange, {{"displayTimeUnit", "ms"}, {"traceEvents", std::move(events)}});
}

}  // namespace serval
