// GET /admin/trace?steps=N&seconds=S&format=F: the last steps in Perfetto's own format, or in
// Chrome's (open either in ui.perfetto.dev). In Chrome's, one lane for the steps, one for each
// request that computed in them.
// https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
#include <fmt/format.h>

#include <boost/json/array.hpp>

#include "base/monotonic.h"
#include "server/routes/answer.h"
#include "server/routes/query.h"
#include "server/routes/routes.h"

namespace serval {
namespace {

namespace json = boost::json;

constexpr size_t kMostSteps = 4096;
constexpr uint64_t kMostSeconds = 3600;
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

enum class Format : uint8_t { kJson, kPerfetto };

struct Wanted {
  size_t steps = kMostSteps;
  int64_t since_us = 0;
  Format format = Format::kJson;
};

// The name of the parameter at fault is left in `wrong`.
std::optional<Wanted> wanted_of(std::string_view text, std::string& wrong) {
  Wanted wanted;
  const auto query = Query::parse(text, {"steps", "seconds", "format"});
  wrong = "steps";
  if (!query) return std::nullopt;
  if (query->has("steps")) {
    const auto steps = whole_number(query->text("steps"), 1, kMostSteps);
    if (!steps) return std::nullopt;
    wanted.steps = *steps;
  }
  wrong = "seconds";
  if (query->has("seconds")) {
    const auto seconds = whole_number(query->text("seconds"), 1, kMostSeconds);
    if (!seconds) return std::nullopt;
    wanted.since_us = monotonic_us() - static_cast<int64_t>(*seconds) * 1'000'000;
  }
  wrong = "format";
  if (!query->has("format") || query->text("format") == "json") return wanted;
  if (query->text("format") != "pftrace") return std::nullopt;
  wanted.format = Format::kPerfetto;
  return wanted;
}

}  // namespace

void trace(Service& service, const ExchangePtr& exchange) {
  std::string wrong;
  const auto wanted = wanted_of(exchange->request().query, wrong);
  if (!wanted) {
    answer_error(exchange,
                 bad_field(wrong, fmt::format("the query may be steps=N, N from 1 to {}, "
                                              "seconds=S, S from 1 to {}, format=json or pftrace",
                                              kMostSteps, kMostSeconds)));
    return;
  }
  std::vector<StepRecord> steps = service.engine().last_steps(wanted->steps);
  std::erase_if(steps, [&](const StepRecord& step) { return step.end_us < wanted->since_us; });
  if (wanted->format == Format::kPerfetto) {
    HttpResponse response;
    response.content_type = "application/octet-stream";
    response.headers = {{"Content-Disposition", "attachment; filename=\"serval.pftrace\""}};
    response.body = perfetto_trace("serval " + service.config().model, steps,
                                   service.monitor().request_times());
    answer(exchange, std::move(response));
    return;
  }
  json::array events{lane_name(kStepsLane, "steps")};
  for (const StepRecord& step : steps) {
    events.push_back(step_event(step));
    for (const StepSpan& span : step.spans) events.push_back(span_event(step, span));
  }
  answer_json(exchange, {{"displayTimeUnit", "ms"}, {"traceEvents", std::move(events)}});
}

}  // namespace serval
