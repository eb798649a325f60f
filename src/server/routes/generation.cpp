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

double seconds_between(SteadyClock::time_point start, SteadyClock::time_point end) {
  return std::chrono::duration<double>(end - start).count();
}

bool is_last(const Event& event) {
  return std::holds_alternative<Finished>(event) || std::holds_alternative<Failed>(event);
}

std::string fresh_id(const char* prefix) {
  static thread_local std::mt19937_64 random{std::random_device{}()};
  return fmt::format("{}-{:016x}{:08x}", prefix, random(), static_cast<uint32_t>(random()));
}

class Generation : public std::enable_shared_from_this<Generation> {
 public:
  Generation(Service& service, ExchangePtr exchange, std::unique_ptr<Wire> wire,
             Service::KeyShare share, const GenerateCall& call)
      : service_(service),
        share_(std::move(share)),
        exchange_(std::move(exchange)),
        wire_(std::move(wire)),
        stream_(call.stream),
        timings_per_token_(call.timings_per_token),
        per_prompt_(static_cast<size_t>(call.n)),
        choices_(per_prompt_ * call.prompts.size()) {}

  // On a worker thread. Returns the error of the first choice the engine refused.
  std::optional<ApiError> submit(const GenerateCall& call,
                                 std::vector<std::vector<TokenId>> prompts);
  void begin();  // strand: everything is submitted

 private:
  struct ChoiceState {
    Choice choice;
    bool opened = false;
    bool wanted_by_monitor = false;  // its text
    std::optional<SteadyClock::time_point> started, first_token, last_token;
  };

  bool on_engine_event(size_t index, const Event& event);  // delivery thread
  void on_event(size_t index, const Event& event);         // strand, as all below
  void on_started(size_t index, const Started& started);
  void on_progress(size_t index, const Progress& progress);
  void on_delta(size_t index, const TextDelta& delta);
  void on_finished(size_t index, const Finished& finished);
  void measure_tokens(ChoiceState& state, const TextDelta& delta);
  void record(const Finished& finished);
  void open(size_t index);
  void complete();
  void fail(const ApiError& error);
  void cancel_all();
  Usage total_usage() const;

  Service& service_;
  Service::KeyShare share_;  // given back before the client can ask again
  const ExchangePtr exchange_;
  const std::unique_ptr<Wire> wire_;
  const bool stream_, timings_per_token_;
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
    const std::vector<TokenId>& prompt = prompts[index / per_prompt_];
    request.prompt = prompt;
    // Choices of one prompt must differ, and the first be the one that n = 1 gives.
    if (request.sampling.seed) *request.sampling.seed += index % per_prompt_;
    if (call.echo && call.logprobs) {
      const auto scores = std::make_shared<PromptScores>(prompt, call.top_logprobs);
      choices_[index].choice.scores = scores;
      request.prompt_logits = [scores](int position, const float* logits, int vocab) {
        scores->add(position, logits, vocab);
      };
    }
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
    if (service_.monitor().shows_text()) {
      service_.monitor().note_prompt(*id, call.prompts[index / per_prompt_]);
      choices_[index].wanted_by_monitor = true;
    }
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
  // A reader that cannot keep up stops being computed for, instead of being buffered for.
  exchange_->on_backlog([self = shared_from_this()](bool behind) {
    Engine& engine = self->service_.engine();
    for (const RequestId id : self->ids_) behind ? engine.pause(id) : engine.resume(id);
  });
  if (stream_ && !over_) exchange_->expect_stream();
  for (const auto& [index, event] : std::exchange(early_, {})) on_event(index, event);
}

bool Generation::on_engine_event(size_t index, const Event& event) {
  if (!is_last(event) && over_) return false;
  exchange_->post([self = shared_from_this(), index, event] { self->on_event(index, event); });
  return true;
}

void Generation::on_event(size_t index, const Event& event) {
  if (!begun_) {  // the worker is still submitting the other choices
    early_.emplace_back(index, event);
    return;
  }
  if (is_last(event)) service_.ended(ids_[index]);
  if (const auto* finished = std::get_if<Finished>(&event)) {
    on_finished(index, *finished);
  } else if (const auto* failed = std::get_if<Failed>(&event)) {
    ++service_.metrics().failed;
    if (!over_) fail(from_engine(failed->error));
  } else if (over_) {
    return;
  } else if (const auto* delta = std::get_if<TextDelta>(&event)) {
    on_delta(index, *delta);
  } else if (const auto* started = std::get_if<Started>(&event)) {
    on_started(index, *started);
  } else if (const auto* progress = std::get_if<Progress>(&event)) {
    on_progress(index, *progress);
  }
}

void Generation::on_started(size_t index, const Started& started) {
  ChoiceState& state = choices_[index];
  state.started = SteadyClock::now();
  state.choice.seed = started.seed;
  state.choice.usage.prompt_tokens = started.prompt_tokens;
  state.choice.usage.cached_tokens = started.cached_tokens;
}

void Generation::on_progress(size_t index, const Progress& progress) {
  if (!stream_) return;
  exchange_->send(sse_event(wire_->progress_chunk(static_cast<int>(index), progress)));
}

// The engine's own timings come at the end; until then these are the server's, taken at delivery.
void Generation::measure_tokens(ChoiceState& state, const TextDelta& delta) {
  if (delta.tokens.empty()) return;
  Metrics& metrics = service_.metrics();
  const auto now = SteadyClock::now();
  if (state.last_token) {
    metrics.inter_token.record(seconds_between(*state.last_token, now));
  } else {
    metrics.time_to_first_token.record(seconds_between(arrived_, now));
    state.first_token = now;
  }
  state.last_token = now;
  Usage& usage = state.choice.usage;
  usage.completion_tokens += static_cast<int>(delta.tokens.size());
  if (!timings_per_token_) return;
  Timings& timings = state.choice.timings;
  const auto started = state.started.value_or(*state.first_token);
  timings.queue_ms = 1000 * seconds_between(arrived_, started);
  timings.prompt_ms = 1000 * seconds_between(started, *state.first_token);
  timings.predicted_ms = 1000 * seconds_between(*state.first_token, now);
  const auto rate = [](int tokens, double ms) { return ms > 0 ? 1000 * tokens / ms : 0.0; };
  timings.prompt_per_second = rate(usage.prompt_tokens - usage.cached_tokens, timings.prompt_ms);
  timings.predicted_per_second = rate(usage.completion_tokens - 1, timings.predicted_ms);
}

void Generation::on_delta(size_t index, const TextDelta& delta) {
  ChoiceState& state = choices_[index];
  measure_tokens(state, delta);
  if (state.wanted_by_monitor) {
    state.wanted_by_monitor = service_.monitor().note_answer(ids_[index], delta.text);
  }
  Choice& choice = state.choice;
  if (stream_) {
    open(index);
    const std::string chunk = wire_->delta_chunk(static_cast<int>(index), delta, choice);
    if (!chunk.empty()) exchange_->send(sse_event(chunk));
    return;
  }
  choice.text += delta.text;
  choice.tokens.insert(choice.tokens.end(), delta.tokens.begin(), delta.tokens.end());
  choice.logprobs.insert(choice.logprobs.end(), delta.logprobs.begin(), delta.logprobs.end());
}

void Generation::record(const Finished& finished) {
  Metrics& metrics = service_.metrics();
  metrics.end_to_end.record(seconds_between(arrived_, SteadyClock::now()));
  metrics.queue.record(finished.timings.queue_ms / 1000);
  metrics.prefill.record(finished.timings.prompt_ms / 1000);
  metrics.decode.record(finished.timings.predicted_ms / 1000);
  metrics.prompt_tokens.record(finished.usage.prompt_tokens);
  metrics.generation_tokens.record(finished.usage.completion_tokens);
}

void Generation::on_finished(size_t index, const Finished& finished) {
  Metrics& metrics = service_.metrics();
  ++(finished.reason == FinishReason::kCancelled ? metrics.finished_abort
     : finished.reason == FinishReason::kStop    ? metrics.finished_stop
                                                 : metrics.finished_length);
  if (over_) return;
  // Not by the client: the server ends, or else the request's time was up and what there is counts.
  if (finished.reason == FinishReason::kCancelled && service_.draining()) {
    fail(overloaded("the server is shutting down"));
    return;
  }
  record(finished);
  Choice& choice = choices_[index].choice;
  choice.usage = finished.usage;
  choice.timings = finished.timings;
  choice.reason = finished.reason;
  choice.stop_text = finished.stop_text;
  if (stream_) {
    open(index);
    exchange_->send(sse_event(wire_->closing_chunk(static_cast<int>(index), choice)));
  }
  if (--open_choices_ == 0) complete();
}

void Generation::open(size_t index) {
  ChoiceState& state = choices_[index];
  if (std::exchange(state.opened, true)) return;
  const std::string chunk = wire_->opening_chunk(static_cast<int>(index), state.choice);
  if (!chunk.empty()) exchange_->send(sse_event(chunk));
}

void Generation::complete() {
  over_ = true;
  share_.reset();
  const Usage usage = total_usage();
  const Timings& timings = choices_.front().choice.timings;
  service_.note(exchange_->id(), {usage, timings, choices_.size(), ids_.front()});
  if (stream_) {
    const std::string chunk = wire_->usage_chunk(usage);
    if (!chunk.empty()) exchange_->send(sse_event(chunk));
    if (!wire_->end_of_stream().empty()) exchange_->send(std::string(wire_->end_of_stream()));
    exchange_->end_stream();
    return;
  }
  std::vector<Choice> choices;
  for (ChoiceState& state : choices_) choices.push_back(std::move(state.choice));
  HttpResponse response;
  response.body = wire_->body(choices, usage);
  exchange_->reply(std::move(response));
}

void Generation::fail(const ApiError& error) {
  over_ = true;
  share_.reset();
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
    const Usage& usage = choices_[i].choice.usage;
    total.completion_tokens += usage.completion_tokens;
    if (i % per_prompt_ != 0) continue;
    total.prompt_tokens += usage.prompt_tokens;
    total.cached_tokens += usage.cached_tokens;
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
  options.timings_per_token = call.timings_per_token;
  options.return_tokens = call.return_tokens;
  options.warnings = call.warnings;
  return options;
}

std::optional<ApiError> tokenize_prompts(Service& service, const std::vector<Prompt>& prompts,
                                         bool generates, std::vector<std::vector<TokenId>>& out) {
  const int context = service.engine().info().context;
  for (const Prompt& prompt : prompts) {
    auto tokens = service.engine().tokenize(prompt);
    if (!tokens) return from_engine(tokens.error());
    if (tokens->size() + (generates ? 1 : 0) > static_cast<size_t>(context)) {
      return context_too_long(tokens->size(), context);
    }
    out.push_back(std::move(*tokens));
  }
  return std::nullopt;
}

void share_fairly(const Service& service, const Exchange& exchange, Request& request) {
  request.tenant = exchange.key_name();
  request.queue_timeout_ms = service.config().queue_timeout_ms;
  request.timeout_ms = service.config().timeout_ms;
}

void start_generation(Service& service, const ExchangePtr& exchange, GenerateCall call,
                      std::unique_ptr<Wire> wire) {
  std::vector<std::vector<TokenId>> prompts;
  const bool generates = call.base.max_tokens.value_or(1) > 0;
  if (const auto error = tokenize_prompts(service, call.prompts, generates, prompts)) {
    answer_error(exchange, *error);
    return;
  }
  share_fairly(service, *exchange, call.base);
  const int choices = call.n * static_cast<int>(prompts.size());
  Service::KeyShare share = service.enter(exchange->key_name(), choices);
  if (share == nullptr) {
    answer_error(exchange, over_share(service.config().key_requests));
    return;
  }
  const auto generation =
      std::make_shared<Generation>(service, exchange, std::move(wire), std::move(share), call);
  if (const auto error = generation->submit(call, std::move(prompts))) {
    answer_error(exchange, *error);
    return;
  }
  exchange->post([generation] { generation->begin(); });
}

}  // namespace serval
