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

// A stalled core looks again after so long where a sequence is not paused.
constexpr int64_t kLookAgainUs = 10'000;

// The vector that the sums of hidden states stand for.
std::vector<float> pooled_values(const Sequence& s) {
  const Generation& g = *s.generation;
  const double scale = g.pooling == Pooling::kMean ? 1.0 / s.prompt_tokens : 1.0;
  std::vector<float> out(g.pooled.size());
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(g.pooled[i] * scale);
  return out;
}

// Of the rows that it gets next.
SpanKind kind_of(const Sequence& s) {
  if (s.preemptions > 0 && s.computed < s.charged) return SpanKind::kRecomputed;
  return s.completion_tokens() > 0 && s.pending() == 1 ? SpanKind::kDecode : SpanKind::kPrefill;
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
      scheduler_({parts.limits.rows, parts.limits.spans, int64_t{1000} * parts.max_itl_ms,
                  parts.share_prefix_cache},
                 blocks_, [this](BlockId from, BlockId to) { kv_.copy_block(from, to); }),
      runner_(parts.model, parts.backend, parts.kv, parts.limits, parts.vocab),
      kv_(parts.kv),
      clock_(std::move(clock)),
      post_(std::move(post)),
      counters_(counters),
      steps_(parts.limits.spans),
      traffic_(parts.traffic) {}

void Core::add(SequencePtr sequence) {
  stalled_ = false;
  Sequence& added = *sequence;
  scheduler_.add(std::move(sequence));
  note(LifeKind::kQueued, added, added.generation->submitted_us);
  if (on_add_) on_add_(added);
}

void Core::loaded(RequestId id, int disk_tokens) {
  Sequence* sequence = scheduler_.find(id);
  if (sequence == nullptr) return;
  sequence->loading = false;
  sequence->disk_tokens = disk_tokens;
  stalled_ = false;
}

void Core::pause(RequestId id, bool paused) {
  Sequence* sequence = scheduler_.find(id);
  if (sequence == nullptr) return;
  if (paused != sequence->paused) {
    note(paused ? LifeKind::kPaused : LifeKind::kResumed, *sequence, clock_());
  }
  sequence->paused = paused;
  stalled_ = false;
}

void Core::cancel(RequestId id, int64_t arrived_us) {
  Sequence* sequence = scheduler_.find(id);
  if (sequence == nullptr || sequence->ended()) return;
  const Generation& g = *sequence->generation;
  if (g.last_step == counters_.steps && g.last_step > 0 && arrived_us <= last_end_us_) {
    counters_.rows_after_cancel.fetch_add(static_cast<uint64_t>(g.rows_in_last_step),
                                          std::memory_order_relaxed);
  }
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

int64_t Core::wake_us() {
  int64_t wake = INT64_MAX;
  const int64_t soon = clock_() + kLookAgainUs;
  scheduler_.for_each([&](const Sequence& s) {
    const Generation& g = *s.generation;
    wake = std::min({wake, g.end_before_us, g.started_us < 0 ? g.begin_before_us : INT64_MAX});
    // It waits for what another began, and the scheduler lets nobody wait for ever.
    if (!s.paused) wake = std::min(wake, soon);
  });
  return wake;
}

void Core::expire(int64_t now_us) {
  bool any = false;
  scheduler_.for_each([&](Sequence& s) {
    Generation& g = *s.generation;
    if (s.ended()) return;
    if (g.started_us < 0 && now_us >= g.begin_before_us) {
      const int64_t allowed = g.begin_before_us - g.submitted_us;
      s.failed = Error(ErrorCode::kDeadline, "the request waited longer than the " +
                                                 std::to_string(allowed / 1000) +
                                                 " ms it allows; try again later");
    } else if (now_us >= g.end_before_us) {
      s.finished = FinishReason::kCancelled;
      std::string rest = g.output.finish();
      if (!rest.empty()) post_(g.outlet, TextDelta{std::move(rest), {}, {}});
    }
    any = any || s.ended();
  });
  if (any) sweep();
}

void Core::step() {
  const int64_t begin_us = clock_();
  expire(begin_us);
  blocks_.set_now(begin_us);
  const StepPlan& plan = scheduler_.plan();
  counters_.preemptions.fetch_add(static_cast<uint64_t>(plan.preempted), std::memory_order_relaxed);
  stalled_ = plan.rows == 0 && plan.preempted == 0;
  if (plan.rows > 0) {
    counters_.steps.fetch_add(1, std::memory_order_relaxed);
    begin_record(plan, begin_us);
    note_started(plan);
    const int64_t run_us = clock_();
    runner_.run(plan);
    scheduler_.commit(clock_() - run_us);
    for (const PlannedSpan& span : plan.spans) advance(span);
    end_record();
  }
  sweep();
#ifndef NDEBUG
  scheduler_.check_sequences();
#endif
}

// The outcome of one span's rows.
void Core::advance(const PlannedSpan& span) {
  Sequence& s = *span.sequence;
  Generation& g = *s.generation;
  if (s.failed) return;
  if (g.progress && s.completion_tokens() == 0) {
    const double elapsed = milliseconds(g.started_us, clock_());
    post_(g.outlet, Progress{s.computed, s.prompt_tokens, s.cached_tokens, elapsed});
  }
  if (g.sampled) {
    take_token(s);
  } else if (s.pending() == 0) {
    if (g.pooling != Pooling::kNone) post_(g.outlet, Pooled{pooled_values(s)});
    s.finished = s.at_limit;  // the prompt was all that was asked for
  }
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
  record.weight_bytes = traffic_.body_bytes;
  record.kv_bytes = 0;
  record.spans.clear();
  for (const PlannedSpan& span : plan.spans) {
    Sequence& s = *span.sequence;
    s.generation->last_step = counters_.steps;
    s.generation->rows_in_last_step = span.rows;
    const SpanKind kind = kind_of(s);
    record.decode_rows += kind == SpanKind::kDecode ? 1 : 0;
    record.kv_bytes += traffic_.kv_bytes(s.computed, span.rows);
    record.spans.push_back({s.id, span.rows, s.computed, kind});
  }
}

void Core::end_record() {
  StepRecord& record = steps_.current();
  if (runner_.logit_rows() > 0) record.weight_bytes += traffic_.head_bytes;
  record.macs = traffic_.row_macs * static_cast<uint64_t>(record.rows) +
                traffic_.head_macs * static_cast<uint64_t>(runner_.logit_rows());
  record.end_us = last_end_us_ = clock_();
  const int64_t spent = record.end_us - record.begin_us;
  const auto add = [](std::atomic<uint64_t>& counter, auto amount) {
    counter.fetch_add(static_cast<uint64_t>(amount), std::memory_order_relaxed);
  };
  add(counters_.rows, record.rows);
  add(counters_.step_us, spent);
  add(counters_.predicted_step_us, record.predicted_us);
  add(counters_.weight_bytes, record.weight_bytes);
  add(counters_.kv_bytes, record.kv_bytes);
  const auto bucket =
      std::lower_bound(kStepSeconds.begin(), kStepSeconds.end(), static_cast<double>(spent) * 1e-6);
  add(counters_.step_histogram[static_cast<size_t>(bucket - kStepSeconds.begin())], 1);
  steps_.commit();
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
    counters_.disk_cached_tokens.fetch_add(
        static_cast<uint64_t>(std::min(s.disk_tokens, s.cached_tokens)), std::memory_order_relaxed);
    note(LifeKind::kBegan, s, g.started_us);
    post_(g.outlet, Started{s.prompt_tokens, s.cached_tokens, g.seed});
  }
}

void Core::take_token(Sequence& s) {
  Generation& g = *s.generation;
  const TokenId token = *g.sampled;
  g.last_token_us = clock_();
  if (g.first_token_us < 0) {
    g.first_token_us = g.last_token_us;
    note(LifeKind::kFirstToken, s, g.first_token_us);
  }
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

Event Core::ending(Sequence& s) {
  Generation& g = *s.generation;
  if (s.failed) return Failed{*s.failed};
  Finished finished;
  finished.reason = *s.finished;
  if (finished.reason == FinishReason::kCancelled) {
    counters_.cancelled.fetch_add(1, std::memory_order_relaxed);
  }
  if (const std::string* stop = g.output.stopped_by()) finished.stop_text = *stop;
  finished.usage = {s.prompt_tokens, s.cached_tokens, s.completion_tokens()};
  finished.timings = timings(s, clock_());
  return finished;
}

// Who is told of an end finds the counters without it.
void Core::sweep() {
  endings_.clear();  // of a sweep that ran out of memory, whose sequences are all still there
  scheduler_.sweep([this](Sequence& s) {
    stalled_ = false;
    if (s.before_release) s.before_release(*this, s);
    note(LifeKind::kEnded, s, clock_());
    endings_.emplace_back(s.generation->outlet, ending(s));
  });
  publish_counters();
  for (auto& [outlet, event] : endings_) post_(outlet, std::move(event));
  endings_.clear();
}

void Core::publish_counters() {
  counters_.running.store(scheduler_.running(), std::memory_order_relaxed);
  counters_.waiting.store(scheduler_.waiting(), std::memory_order_relaxed);
  counters_.blocks_used.store(blocks_.referenced(), std::memory_order_relaxed);
  counters_.blocks_cached.store(blocks_.idle(), std::memory_order_relaxed);
}

}  // namespace serval
