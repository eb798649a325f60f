// The synchronous calls, built from submit() like any caller could.
#include <condition_variable>
#include <memory>
#include <mutex>

#include "serval/engine.h"

namespace serval {
namespace {

// Collects one request's events until the last. Shared by the waiting thread and the sink.
class Collector {
 public:
  explicit Collector(std::function<bool(std::string_view)> on_text)
      : on_text_(std::move(on_text)) {}

  bool take(const Event& event) {
    const std::lock_guard lock(mutex_);
    bool go_on = true;
    if (const auto* started = std::get_if<Started>(&event)) {
      completion_.seed = started->seed;
    } else if (const auto* delta = std::get_if<TextDelta>(&event)) {
      append(completion_.tokens, delta->tokens);
      append(completion_.logprobs, delta->logprobs);
      completion_.text += delta->text;
      if (on_text_ && !delta->text.empty()) go_on = on_text_(delta->text);
    } else if (const auto* finished = std::get_if<Finished>(&event)) {
      completion_.finished = *finished;
      done_ = true;
    } else if (const auto* failed = std::get_if<Failed>(&event)) {
      error_ = failed->error;
      done_ = true;
    }
    if (done_) done_signal_.notify_all();
    return go_on;
  }

  Result<Completion> wait() {
    std::unique_lock lock(mutex_);
    done_signal_.wait(lock, [&] { return done_; });
    if (error_) return *error_;
    return std::move(completion_);
  }

 private:
  template <typename T>
  static void append(std::vector<T>& to, const std::vector<T>& from) {
    to.insert(to.end(), from.begin(), from.end());
  }

  std::function<bool(std::string_view)> on_text_;
  std::mutex mutex_;
  std::condition_variable done_signal_;
  Completion completion_;
  std::optional<Error> error_;
  bool done_ = false;
};

Result<RequestId> start(Engine& engine, Request request,
                        const std::shared_ptr<Collector>& collector) {
  return engine.submit(std::move(request), [collector](RequestId, const Event& event) {
    return collector->take(event);
  });
}

}  // namespace

Result<Completion> generate(Engine& engine, Request request,
                            const std::function<bool(std::string_view)>& on_text) {
  const auto collector = std::make_shared<Collector>(on_text);
  if (auto id = start(engine, std::move(request), collector); !id) return id.error();
  return collector->wait();
}

std::vector<Result<Completion>> generate_all(Engine& engine, std::vector<Request> requests) {
  std::vector<std::shared_ptr<Collector>> collectors;
  std::vector<Result<Completion>> results;
  std::vector<std::optional<Error>> refused(requests.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    collectors.push_back(std::make_shared<Collector>(nullptr));
    auto id = start(engine, requests[i], collectors[i]);
    // A full queue drains as the earlier requests end.
    while (!id && id.error().code() == ErrorCode::kResourceExhausted && results.size() < i) {
      const size_t oldest = results.size();
      results.push_back(refused[oldest] ? *refused[oldest] : collectors[oldest]->wait());
      id = start(engine, requests[i], collectors[i]);
    }
    if (!id) refused[i] = id.error();
  }
  while (results.size() < requests.size()) {
    const size_t next = results.size();
    results.push_back(refused[next] ? *refused[next] : collectors[next]->wait());
  }
  return results;
}

}  // namespace serval
