#include "apps/generation.h"

#include <fmt/format.h>

#include <cmath>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>

#include "apps/command.h"
#include "apps/interrupt.h"
#include "apps/terminal.h"
#include "base/utf8.h"

namespace serval {
namespace {

namespace json = boost::json;
using Clock = std::chrono::steady_clock;

constexpr auto kPoll = std::chrono::milliseconds(50);

Clock::time_point start_of_process = Clock::now();

// What the delivery thread fills and the waiting thread reads once `open` is zero.
struct Collector {
  std::mutex mutex;
  std::condition_variable changed;
  size_t open = 0;
  std::vector<Answer> answers;
  std::optional<Error> failure;
  std::function<void(size_t, std::string_view)> on_text;

  bool take(size_t index, const Event& event) {
    Answer& answer = answers[index];  // one event at a time per request: no lock for its own answer
    if (const auto* started = std::get_if<Started>(&event)) {
      answer.seed = started->seed;
      return true;
    }
    if (const auto* delta = std::get_if<TextDelta>(&event)) {
      if (answer.tokens.empty() && !delta->tokens.empty()) answer.first_token = Clock::now();
      answer.text += delta->text;
      answer.tokens.insert(answer.tokens.end(), delta->tokens.begin(), delta->tokens.end());
      answer.logprobs.insert(answer.logprobs.end(), delta->logprobs.begin(), delta->logprobs.end());
      if (on_text && !delta->text.empty()) on_text(index, delta->text);
      return true;
    }
    const std::lock_guard<std::mutex> lock(mutex);
    if (const auto* finished = std::get_if<Finished>(&event)) answer.finished = *finished;
    if (const auto* failed = std::get_if<Failed>(&event); failed != nullptr && !failure) {
      failure = failed->error;
    }
    --open;
    changed.notify_all();
    return true;
  }
};

double milliseconds(Clock::duration d) {
  return std::chrono::duration<double, std::milli>(d).count();
}

double round_to(double value, double step) { return std::round(value / step) * step; }

json::array top_json(const Engine& engine, const TokenLogprob& entry) {
  json::array top;
  for (const auto& [id, logprob] : entry.top) {
    top.push_back(json::object{{"id", id},
                               {"token", replace_invalid_utf8(engine.detokenize({id}, true))},
                               {"logprob", logprob}});
  }
  return top;
}

}  // namespace

std::chrono::steady_clock::time_point process_start() { return start_of_process; }
void mark_process_start() { start_of_process = Clock::now(); }

void throw_usage(const Error& error) { throw UsageError(error.message()); }

std::vector<Answer> run_requests(Engine& engine, std::vector<Request> requests,
                                 const std::function<void(size_t, std::string_view)>& on_text) {
  // Shared with the sinks: an exception here may leave requests that end a moment later.
  const auto collector = std::make_shared<Collector>();
  collector->answers.resize(requests.size());
  collector->on_text = on_text;
  std::vector<RequestId> ids;
  const auto cancel_all = [&] {
    for (const RequestId id : ids) engine.cancel(id);
  };
  const auto wait_for = [&](size_t left) {
    bool cancelled = false;
    std::unique_lock<std::mutex> lock(collector->mutex);
    while (collector->open > left) {
      collector->changed.wait_for(lock, kPoll);
      if (!cancelled && (interrupted() || collector->failure)) {
        cancelled = true;
        lock.unlock();
        cancel_all();
        lock.lock();
      }
    }
  };
  std::optional<Error> refused;
  for (size_t i = 0; i < requests.size() && !refused; ++i) {
    {
      const std::lock_guard<std::mutex> lock(collector->mutex);
      ++collector->open;
    }
    const auto sink = [collector, i](RequestId, const Event& event) {
      return collector->take(i, event);
    };
    const Request request = requests[i];
    Result<RequestId> id = engine.submit(request, sink);
    if (!id && id.error().code() == ErrorCode::kResourceExhausted && i > 0) {
      wait_for(i > 0 && collector->open > 1 ? collector->open - 2
                                            : 0);  // the queue is full: let some end
      id = engine.submit(request, sink);
    }
    if (id) {
      ids.push_back(*id);
    } else {
      refused = id.error();
      const std::lock_guard<std::mutex> lock(collector->mutex);
      --collector->open;
    }
  }
  if (refused) cancel_all();
  wait_for(0);
  if (refused) {
    if (refused->code() == ErrorCode::kInvalidArgument) throw_usage(*refused);
    throw *refused;
  }
  if (collector->failure) throw *collector->failure;
  return std::move(collector->answers);
}

Answer run_request(Engine& engine, Request request,
                   const std::function<void(std::string_view)>& on_text) {
  std::vector<Request> requests;
  requests.push_back(std::move(request));
  std::function<void(size_t, std::string_view)> forward;
  if (on_text) forward = [&](size_t, std::string_view text) { on_text(text); };
  return std::move(run_requests(engine, std::move(requests), forward).front());
}

std::unique_ptr<Engine> load_engine(EngineConfig config) {
  ProgressBar bar("loading");
  config.progress = [&](uint64_t done, uint64_t total) { bar.update(done, total); };
  std::unique_ptr<Engine> engine = checked(Engine::load(config));
  bar.wipe();
  for (const std::string& warning : engine->info().warnings) notice(warning);
  return engine;
}

std::string timings_line(const Engine& engine, const Answer& answer) {
  const Usage& usage = answer.finished.usage;
  const Timings& t = answer.finished.timings;
  std::string line = fmt::format("load {:.0f} ms", engine.info().load_ms);
  if (!answer.tokens.empty()) {
    line += fmt::format(" | first token after {:.0f} ms", t.queue_ms + t.prompt_ms);
  }
  line += fmt::format(" | prompt {} tokens", usage.prompt_tokens);
  if (usage.cached_tokens > 0) line += fmt::format(" ({} cached)", usage.cached_tokens);
  if (t.prompt_per_second > 0) line += fmt::format(", {:.1f} t/s", t.prompt_per_second);
  line += fmt::format(" | answer {} tokens", usage.completion_tokens);
  if (t.predicted_per_second > 0) line += fmt::format(", {:.1f} t/s", t.predicted_per_second);
  switch (answer.finished.reason) {
    case FinishReason::kLength:
      line += " | stopped at the token limit";
      break;
    case FinishReason::kContextFull:
      line += " | stopped: the context is full";
      break;
    case FinishReason::kCancelled:
      line += " | interrupted";
      break;
    case FinishReason::kStop:
      break;
  }
  return line;
}

json::object answer_json(const Engine& engine, const Answer& answer, bool with_logprobs) {
  const ModelInfo& info = engine.info();
  const Timings& t = answer.finished.timings;
  json::object out;
  out["model"] = replace_invalid_utf8(info.name.empty() ? info.path : info.name);
  out["prompt_tokens"] = answer.finished.usage.prompt_tokens;
  out["cached_tokens"] = answer.finished.usage.cached_tokens;
  out["completion_tokens"] = answer.finished.usage.completion_tokens;
  out["text"] = replace_invalid_utf8(answer.text);
  out["tokens"] = json::array(answer.tokens.begin(), answer.tokens.end());
  out["finish_reason"] = to_string(answer.finished.reason);
  if (!answer.finished.stop_text.empty()) {
    out["stop_text"] = replace_invalid_utf8(answer.finished.stop_text);
  }
  out["seed"] = answer.seed;
  if (with_logprobs) {
    json::array rows;
    for (const TokenLogprob& entry : answer.logprobs) {
      rows.push_back(
          json::object{{"id", entry.id},
                       {"token", replace_invalid_utf8(engine.detokenize({entry.id}, true))},
                       {"logprob", entry.logprob},
                       {"top", top_json(engine, entry)}});
    }
    out["logprobs"] = std::move(rows);
  }
  const auto ms = [](double value) { return round_to(value, 0.001); };
  json::object timings;
  timings["load_ms"] = ms(info.load_ms);
  timings["queue_ms"] = ms(t.queue_ms);
  timings["prompt_ms"] = ms(t.prompt_ms);
  timings["prompt_per_second"] = ms(t.prompt_per_second);
  timings["predicted_ms"] = ms(t.predicted_ms);
  timings["predicted_per_second"] = ms(t.predicted_per_second);
  timings["total_ms"] = ms(t.total_ms);
  if (!answer.tokens.empty()) {
    timings["process_to_first_token_ms"] = ms(milliseconds(answer.first_token - start_of_process));
  }
  out["timings"] = std::move(timings);
  return out;
}

}  // namespace serval
