// One step. The order matters: sequences that ended are swept (their blocks come back) before the
// next plan, and a sequence's Started event precedes its first token.
#include "engine/core.h"

#include <algorithm>
#include <utility>

namespace serval {
namespace {

double milliseconds(int64_t from_us, int64_t to_us) {
  return from_us < 0 || to_us < from_us ? 0.0 : static_cast<double>(to_us - from_us) / 1000.0;
}

Timings timings(const Sequence& s, int64_t now_us) {
  const Generation& g = *s.generation;
  Timings t;
  t.queue_ms = milliseconds(g.submitted_us, g.started_us < 0 ? now_us : g.started_us);
  const int64_t prompt_end = g.first_token_us < 0 ? now_us : g.first_token_us;
  t.prompt_ms = milliseconds(g.started_us, prompt_end);
  t.predicted_ms = milliseconds(g.first_token_us, g.last_token_us);
  t.total_ms = milliseconds(g.submitted_us, now_us);
  const int computed = s.prompt_tokens - s.cached_tokens;
  if (t.prompt_ms > 0) t.prompt_per_second = computed * 1000.0 / t.prompt_ms;
  if (t.predicted_ms > 0) {
    t.predicted_per_second = (s.completion_tokens() - 1) * 1000.0 / t.predicted_ms;
  }
  return t;
}

}  // namespace

Core::Core(const CoreParts& parts, Clock clock, Post post, Counters& counters)
    : blocks_(parts.kv.blocks()),
      scheduler_({parts.limits.rows, parts.limits.spans}, blocks_),
      runner_(parts.model, parts.backend, parts.kv, parts.limits, parts.vocab),
      kv_(parts.kv),
      clock_(std::move(clock)),
      post_(std::move(post)),
      counters_(counters),
      steps_(parts.limits.spans) {}

void Core::add(SequencePtr sequence) {
  stalled_ = false;
  scheduler_.add(std::move(sequence));
}

void Core::pause(RequestId id, bool paused) {
  Sequence* sequence = scheduler_.find(id);
  if (sequence == nullptr) return;
  sequence->paused = paused;
  stalled_ = false;
}

void Core::cancel(RequestId id) {
  Sequence* sequence = scheduler_.find(id);
  if (sequence == nullptr || sequence->ended()) return;
  sequence->finished = FinishReason::kCancelled;
  sweep();
}

void Core::cancel_all() {
  scheduler_.for_each([](Sequence& s) { s.finished = FinishReason::kCancelled; });
  sweep();
}

void Core::fail_all(const Error& error) {
  scheduler_.for_each([&](Sequence& s) { s.failed = error; });
  sweep();
}

void Core::step() {
  const int64_t begin_us = clock_();
  const StepPlan& plan = scheduler_.plan();
  stalled_ = plan.rows == 0 && plan.preempted == 0;
  if (plan.rows > 0) {
    begin_record(plan, begin_us);
    note_started(plan);
    runner_.run(plan);
    scheduler_.commit();
    for (const PlannedSpan& span : plan.spans) {
      Sequence& s = *span.sequence;
      if (s.failed) continue;
      if (s.generation->sampled) {
        take_token(s);
      } else if (s.pending() == 0) {
        s.finished = s.at_limit;  // the prompt was all that was asked for
      }
    }
    counters_.steps.fetch_add(1, std::memory_order_relaxed);
    steps_.current().end_us = clock_();
    steps_.commit();
  }
  sweep();
}

void Core::begin_record(const StepPlan& plan, int64_t begin_us) {
  StepRecord& record = steps_.current();
  record.begin_us = begin_us;
  record.predicted_us = plan.predicted_us;
  record.rows = plan.rows;
  record.decode_rows = 0;
  record.running = scheduler_.running();
  record.waiting = scheduler_.waiting();
  record.preempted = plan.preempted;
  record.blocks_used = blocks_.referenced();
  record.blocks_cached = blocks_.idle();
  record.weight_bytes = record.kv_bytes = 0;
  record.spans.clear();
  for (const PlannedSpan& span : plan.spans) {
    const Sequence& s = *span.sequence;
    const bool decode = s.completion_tokens() > 0 && s.pending() == 1;
    record.decode_rows += decode ? 1 : 0;
    record.spans.push_back({s.id, span.rows, s.computed, decode});
  }
}

void Core::note_started(const StepPlan& plan) {
  for (const PlannedSpan& span : plan.spans) {
    Sequence& s = *span.sequence;
    Generation& g = *s.generation;
    if (g.started_us >= 0) continue;
    g.started_us = clock_();
    counters_.prompt_tokens.fetch_add(static_cast<uint64_t>(s.prompt_tokens),
                                      std::memory_order_relaxed);
    counters_.cached_tokens.fetch_add(static_cast<uint64_t>(s.cached_tokens),
                                      std::memory_order_relaxed);
    post_(g.outlet, Started{s.prompt_tokens, s.cached_tokens, g.seed});
  }
}

void Core::take_token(Sequence& s) {
  Generation& g = *s.generation;
  const TokenId token = *g.sampled;
  g.last_token_us = clock_();
  if (g.first_token_us < 0) g.first_token_us = g.last_token_us;
  s.tokens.push_back(token);
  counters_.completion_tokens.fetch_add(1, std::memory_order_relaxed);
  const bool free_to_stop = s.completion_tokens() > g.min_tokens;
  TextDelta delta;
  delta.tokens.push_back(token);
  if (g.logprobs > 0) delta.logprobs.push_back(std::move(g.logprob));
  if (std::binary_search(g.ends.begin(), g.ends.end(), token)) {
    s.finished = FinishReason::kStop;
  } else {
    delta.text = g.output.push(token, free_to_stop);
    if (g.output.stopped_by() != nullptr) {
      s.finished = FinishReason::kStop;
    } else if (s.known() >= s.length_limit) {
      s.finished = s.at_limit;
    }
  }
  if (s.finished) delta.text += g.output.finish();
  post_(g.outlet, std::move(delta));
}

void Core::emit_end(Sequence& s) {
  Generation& g = *s.generation;
  if (s.failed) {
    post_(g.outlet, Failed{*s.failed});
    return;
  }
  Finished finished;
  finished.reason = *s.finished;
  if (finished.reason == FinishReason::kCancelled) {
    counters_.cancelled.fetch_add(1, std::memory_order_relaxed);
  }
  if (const std::string* stop = g.output.stopped_by()) finished.stop_text = *stop;
  finished.usage = {s.prompt_tokens, s.cached_tokens, s.completion_tokens()};
  finished.timings = timings(s, clock_());
  post_(g.outlet, std::move(finished));
}

void Core::sweep() {
  scheduler_.sweep([this](Sequence& s) {
    stalled_ = false;
    if (s.before_release) s.before_release(*this, s);
    emit_end(s);
  });
  publish_counters();
}

void Core::publish_counters() {
  counters_.running.store(scheduler_.running(), std::memory_order_relaxed);
  counters_.waiting.store(scheduler_.waiting(), std::memory_order_relaxed);
  counters_.blocks_used.store(blocks_.referenced(), std::memory_order_relaxed);
  counters_.blocks_cached.store(blocks_.idle(), std::memory_order_relaxed);
}

}  // namespace serval
