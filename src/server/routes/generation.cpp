// A call becomes prompts x n engine requests. Their events come on the engine's delivery thread and
// are posted to the connection's strand, where all state below lives: no locks. Whatever goes wrong
// before the first byte of a stream is a plain JSON error; later it is one error event, and the
// stream ends without [DONE].
//
// When the client leaves, every choice is cancelled at once. An event already on its way then finds
// `over_` set and is dropped; the sink's `false` tells the engine as well.
#include "server/routes/generation.h"

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <random>
#include <utility>

#include "server/http/sse.h"
#include "server/routes/answer.h"

namespace serval {
namespace {

using SteadyClock = std::chrono::steady_clock;

double seconds_since(SteadyClock::time_point start) {
  return std::chrono::duration<double>(SteadyClock::now() - start).count();
}

std::string fresh_id(const char* prefix) {
  static thread_local std::mt19937_64 random{std::random_device{}()};
  return fmt::format("{}-{:016x}{:08x}", prefix, random(), static_cast<uint32_t>(random()));
}

class Generation : public std::enable_shared_from_this<Generation> {
 public:
  Generation(Service& service, ExchangePtr exchange, std::unique_ptr<Wire> wire, bool stream,
             size_t choices, size_t choices_per_prompt)
      : service_(service),
        exchange_(std::move(exchange)),
        wire_(std::move(wire)),
        stream_(stream),
        per_prompt_(choices_per_prompt),
        choices_(choices) {}

  // On a worker thread. Returns the error of the first choice the engine refused.
  std::optional<ApiError> submit(const GenerateCall& call,
                                 std::vector<std::vector<TokenId>> prompts);
  void begin();  // strand: everything is submitted

 private:
  struct ChoiceState {
    Choice choice;
    Usage usage;
    Timings timings;
    bool opened = false, finished = false;
    std::optional<SteadyClock::time_point> last_token;
  };

  bool on_engine_event(size_t index, const Event& event);  // delivery thread
  void on_event(size_t index, const Event& event);         // strand, as all below
  void on_delta(size_t index, const TextDelta& delta);
  void on_finished(size_t index, const Finished& finished);
  void open(size_t index);
  void complete();
  void fail(const ApiError& error);
  void cancel_all();
  Usage total_usage() const;

  Service& service_;
  const ExchangePtr exchange_;
  const std::unique_ptr<Wire> wire_;
  const bool stream_;
  const size_t per_prompt_;
  const SteadyClock::time_point arrived_ = SteadyClock::now();
  std::atomic<bool> over_{false};                // nobody wants further events
  std::vector<RequestId> ids_;                   // the worker's until begin(), then the strand's
  std::vector<std::pair<size_t, Event>> early_;  // came before begin()
  bool begun_ = false;
  std::vector<ChoiceState> choices_;
  size_t open_choices_ = 0;
};

std::optional<ApiError> Generation::submit(const GenerateCall& call,
                                           std::vector<std::vector<TokenId>> prompts) {
  open_choices_ = choices_.size();
  for (size_t index = 0; index < choices_.size(); ++index) {
    Request request = call.base;
    request.prompt = prompts[index / per_prompt_];
    // Choices of one prompt must differ, and the first be the one that n = 1 gives.
    if (request.sampling.seed) *request.sampling.seed += index % per_prompt_;
    auto id = service_.engine().submit(
        std::move(request), [self = shared_from_this(), index](RequestId, const Event& event) {
          return self->on_engine_event(index, event);
        });
    if (!id) {
      over_ = true;
      cancel_all();
      return from_engine(id.error());
    }
    ids_.push_back(*id);
  }
  return std::nullopt;
}

void Generation::begin() {
  begun_ = true;
  for (const RequestId id : ids_) service_.began(id);
  exchange_->on_disconnect([self = shared_from_this()] {
    self->over_ = true;
    self->cancel_all();
  });
  if (stream_ && !over_) exchange_->expect_stream();
  for (const auto& [index, event] : std::exchange(early_, {})) on_event(index, event);
}

bool Generation::on_engine_event(size_t index, const Event& event) {
  if (std::holds_alternative<Finished>(event) || std::holds_alternative<Failed>(event)) {
    exchange_->post([self = shared_from_this(), index, event] { self->on_event(index, event); });
    return true;
  }
  if (over_) return false;
  exchange_->post([self = shared_from_this(), index, event] { self->on_event(index, event); });
  return true;
}

void Generation::on_event(size_t index, const Event& event) {
  if (!begun_) {  // the worker is still submitting the other choices
    early_.emplace_back(index, event);
    return;
  }
  const bool last =
      std::holds_alternative<Finished>(event) || std::holds_alternative<Failed>(event);
  if (last) service_.ended(ids_[index]);
  if (const auto* finished = std::get_if<Finished>(&event)) {
    on_finished(index, *finished);
  } else if (const auto* failed = std::get_if<Failed>(&event)) {
    ++service_.metrics().failed;
    if (!over_) fail(from_engine(failed->error));
  } else if (const auto* delta = std::get_if<TextDelta>(&event)) {
    if (!over_) on_delta(index, *delta);
  }
}

void Generation::on_delta(size_t index, const TextDelta& delta) {
  ChoiceState& state = choices_[index];
  Metrics& metrics = service_.metrics();
  if (!delta.tokens.empty()) {
    const auto now = SteadyClock::now();
    if (state.last_token) {
      metrics.inter_token.record(std::chrono::duration<double>(now - *state.last_token).count());
    } else {
      metrics.time_to_first_token.record(seconds_since(arrived_));
    }
    state.last_token = now;
  }
  if (stream_) {
    open(index);
    const std::string chunk = wire_->delta_chunk(static_cast<int>(index), delta);
    if (!chunk.empty()) exchange_->send(sse_event(chunk));
    return;
  }
  state.choice.text += delta.text;
  state.choice.logprobs.insert(state.choice.logprobs.end(), delta.logprobs.begin(),
                               delta.logprobs.end());
}

void Generation::on_finished(size_t index, const Finished& finished) {
  Metrics& metrics = service_.metrics();
  ++(finished.reason == FinishReason::kCancelled ? metrics.finished_abort
     : finished.reason == FinishReason::kStop    ? metrics.finished_stop
                                                 : metrics.finished_length);
  if (over_) return;
  if (finished.reason == FinishReason::kCancelled) {  // not by the client: the server ends
    fail(overloaded("the server is shutting down"));
    return;
  }
  ChoiceState& state = choices_[index];
  state.finished = true;
  state.usage = finished.usage;
  state.timings = finished.timings;
  state.choice.reason = finished.reason;
  metrics.end_to_end.record(seconds_since(arrived_));
  metrics.queue.record(finished.timings.queue_ms / 1000);
  metrics.prefill.record(finished.timings.prompt_ms / 1000);
  metrics.decode.record(finished.timings.predicted_ms / 1000);
  metrics.prompt_tokens.record(finished.usage.prompt_tokens);
  metrics.generation_tokens.record(finished.usage.completion_tokens);
  if (stream_) {
    open(index);
    exchange_->send(sse_event(wire_->closing_chunk(static_cast<int>(index), finished)));
  }
  if (--open_choices_ == 0) complete();
}

void Generation::open(size_t index) {
  if (std::exchange(choices_[index].opened, true)) return;
  const std::string chunk = wire_->opening_chunk(static_cast<int>(index));
  if (!chunk.empty()) exchange_->send(sse_event(chunk));
}

void Generation::complete() {
  over_ = true;
  const Usage usage = total_usage();
  if (stream_) {
    const std::string chunk = wire_->usage_chunk(usage);
    if (!chunk.empty()) exchange_->send(sse_event(chunk));
    exchange_->send(std::string(kSseDone));
    exchange_->end_stream();
    return;
  }
  std::vector<Choice> choices;
  for (ChoiceState& state : choices_) choices.push_back(std::move(state.choice));
  HttpResponse response;
  response.body = wire_->body(
      choices, usage, choices.size() == 1 ? std::optional(choices_.front().timings) : std::nullopt);
  exchange_->reply(std::move(response));
}

void Generation::fail(const ApiError& error) {
  over_ = true;
  cancel_all();
  if (!exchange_->stream_begun()) {
    exchange_->reply(error_response(error));
    return;
  }
  exchange_->send(sse_event(error_body(error)));
  exchange_->end_stream();
}

void Generation::cancel_all() {
  for (const RequestId id : ids_) service_.engine().cancel(id);
}

// A prompt shared by several choices is counted once.
Usage Generation::total_usage() const {
  Usage total;
  for (size_t i = 0; i < choices_.size(); ++i) {
    total.completion_tokens += choices_[i].usage.completion_tokens;
    if (i % per_prompt_ != 0) continue;
    total.prompt_tokens += choices_[i].usage.prompt_tokens;
    total.cached_tokens += choices_[i].usage.cached_tokens;
  }
  return total;
}

}  // namespace

WireOptions wire_options(Service& service, const GenerateCall& call, const char* prefix) {
  WireOptions options;
  options.id = fresh_id(prefix);
  options.model = call.model.empty() ? service.config().model : call.model;
  options.fingerprint = service.fingerprint();
  options.created = std::chrono::duration_cast<std::chrono::seconds>(
                        std::chrono::system_clock::now().time_since_epoch())
                        .count();
  options.logprobs = call.logprobs;
  options.top_logprobs = call.top_logprobs;
  options.include_usage = call.include_usage;
  options.warnings = call.warnings;
  return options;
}

void start_generation(Service& service, const ExchangePtr& exchange, GenerateCall call,
                      std::unique_ptr<Wire> wire) {
  std::vector<std::vector<TokenId>> prompts;
  const int context = service.engine().info().context;
  const bool generates = call.base.max_tokens.value_or(1) > 0;
  for (const Prompt& prompt : call.prompts) {
    auto tokens = service.engine().tokenize(prompt);
    if (!tokens) {
      answer_error(exchange, from_engine(tokens.error()));
      return;
    }
    if (tokens->size() + (generates ? 1 : 0) > static_cast<size_t>(context)) {
      answer_error(exchange, context_too_long(tokens->size(), context));
      return;
    }
    prompts.push_back(std::move(*tokens));
  }
  const auto n = static_cast<size_t>(call.n);
  const auto generation = std::make_shared<Generation>(service, exchange, std::move(wire),
                                                       call.stream, n * prompts.size(), n);
  if (const auto error = generation->submit(call, std::move(prompts))) {
    answer_error(exchange, *error);
    return;
  }
  exchange->post([generation] { generation->begin(); });
}

}  // namespace serval
