// One request on an engine, as a command waits for it: streaming, with Ctrl-C.
#pragma once

#include <boost/json.hpp>
#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "apps/options.h"
#include "serval/engine.h"

namespace serval {

struct Answer {
  std::string text;
  std::vector<TokenId> tokens;
  std::vector<TokenLogprob> logprobs;
  Finished finished;
  uint64_t seed = 0;
  std::chrono::steady_clock::time_point first_token;  // when it reached us
};

// Runs requests together to their ends; results in input order. `on_text` (may be empty) gets the
// pieces of request i as they come, on the engine's delivery thread. Ctrl-C inside an
// InterruptScope cancels them all, and their answers end with FinishReason::kCancelled. Throws
// UsageError for requests the engine refuses, Error for those that fail.
std::vector<Answer> run_requests(Engine& engine, std::vector<Request> requests,
                                 const std::function<void(size_t, std::string_view)>& on_text);
Answer run_request(Engine& engine, Request request,
                   const std::function<void(std::string_view)>& on_text);

// Loads with a progress bar (drawn only when it takes a while). Throws Error.
std::unique_ptr<Engine> load_engine(EngineConfig config);

[[noreturn]] void throw_usage(const Error& error);
// The value, or a UsageError when the caller's input was at fault, or the Error.
template <typename T>
T checked(Result<T> result) {
  if (result.ok()) return std::move(result).value();
  if (result.error().code() == ErrorCode::kInvalidArgument) throw_usage(result.error());
  throw result.error();
}

// What a command began with; TTFT is counted from here.
std::chrono::steady_clock::time_point process_start();
void mark_process_start();

// "prompt 31 tokens, 812 t/s, ..." for people.
std::string timings_line(const Engine& engine, const Answer& answer);
// The documented JSON of one answer.
boost::json::object answer_json(const Engine& engine, const Answer& answer, bool with_logprobs);

}  // namespace serval
