// Continuous batching (Yu et al., "Orca", OSDI 2022) with chunked prefill beside decodes (Agrawal
// et al., "Sarathi-Serve", OSDI 2024), the chunk being sized in time, not in rows: what a row costs
// differs a hundredfold between models, machines and context lengths; what a reader notices is a
// gap in time.
//
// plan() works in three passes so that no pass has to undo another: first every running sequence
// secures the blocks of its known tokens (this is where preemption happens), then waiting sequences
// are admitted with all blocks of their known tokens (scheduler_admission.cpp), then rows are
// shared out.
#include "engine/scheduler.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace serval {
namespace {

// What one admission before its own arrival, and one point of priority, weigh in prompt tokens.
constexpr int64_t kAgeTokens = 32;
constexpr int64_t kPriorityTokens = 64;

bool older(const SequencePtr& a, const SequencePtr& b) { return a->id < b->id; }

bool sooner(const SequencePtr& a, const SequencePtr& b) {
  const bool again = a->preemptions > 0;
  if (again != (b->preemptions > 0)) return again;
  if (again || urgency(*a) == urgency(*b)) return a->id < b->id;
  return urgency(*a) < urgency(*b);
}

template <typename Order>
void insert(std::vector<SequencePtr>& list, SequencePtr sequence, const Order& order) {
  const auto at = std::upper_bound(list.begin(), list.end(), sequence, order);
  list.insert(at, std::move(sequence));
}

SequencePtr remove(std::vector<SequencePtr>& list, const Sequence& sequence) {
  const auto at = std::find_if(list.begin(), list.end(),
                               [&](const SequencePtr& s) { return s.get() == &sequence; });
  SERVAL_CHECK(at != list.end());
  SequencePtr out = std::move(*at);
  list.erase(at);
  return out;
}

// Rows of the span that want logits.
int logit_rows(const Sequence& s, int rows) {
  const int first = s.computed;
  const int end = s.computed + rows;
  if (s.generation != nullptr && s.generation->prompt_logits != nullptr) {
    return std::max(0, end - std::max(first, s.generation->next_scored));
  }
  return end == s.known() ? 1 : 0;
}

}  // namespace

Scheduler::Scheduler(const SchedulerLimits& limits, BlockManager& blocks, CopyBlock copy)
    : limits_(limits), blocks_(blocks), copy_(std::move(copy)) {
  limits_.max_sequences = std::min(limits_.max_sequences, limits_.batch_tokens);
  const auto most = static_cast<size_t>(limits_.max_sequences);
  running_.reserve(most);
  prefills_.reserve(most);
  shares_.reserve(most);
  growth_.reserve(most + 1);
  plan_.spans.reserve(most);
}

void Scheduler::add(SequencePtr sequence) {
  Sequence& s = *sequence;
  s.domain = cache_domain(limits_.share_prefix_cache ? "" : s.tenant, s.cache_salt);
  s.account = &tenants_.enter(s.tenant);
  s.arrival = kAgeTokens * admissions_ - kPriorityTokens * s.priority;
  insert(waiting_, std::move(sequence), sooner);
}

Sequence* Scheduler::find(RequestId id) {
  for (const auto* list : {&running_, &waiting_}) {
    for (const SequencePtr& s : *list) {
      if (s->id == id) return s.get();
    }
  }
  return nullptr;
}

const StepPlan& Scheduler::plan() {
  ++plans_;
  plan_.spans.clear();
  plan_.rows = plan_.prompt_rows = plan_.preempted = 0;
  plan_.streaming = false;
  plan_.load = {};
  secure_blocks();
  admit();
  share_rows();
  plan_.predicted_us = std::llround(plan_.rows > 0 ? cost_.predict_us(plan_.load) : 0.0);
  return plan_;
}

// ---- Blocks for those that run

void Scheduler::secure_blocks() {
  // Oldest first. Preemption may shorten the list before and behind the present place, or at it, so
  // the next one is found by age.
  for (auto at = running_.begin(); at != running_.end();) {
    Sequence& sequence = **at;
    const RequestId id = sequence.id;
    if (!sequence.ended() && !sequence.paused) secure(sequence);
    at = std::upper_bound(running_.begin(), running_.end(), id,
                          [](RequestId past, const SequencePtr& s) { return past < s->id; });
  }
}

// May end or preempt the sequence itself.
void Scheduler::secure(Sequence& sequence) {
  while (!blocks_.grow(sequence.blocks, blocks_for(sequence.known()))) {
    Sequence* victim = cheapest_to_recompute();
    if (victim == nullptr) {
      if (&sequence == oldest()) {
        sequence.finished = FinishReason::kContextFull;
        return;
      }
      victim = &sequence;
    }
    const bool itself = victim == &sequence;
    preempt(*victim);
    if (itself) return;
  }
}

// Of those that may run; null when all are paused.
const Sequence* Scheduler::oldest() const {
  const auto at = std::find_if(running_.begin(), running_.end(),
                               [](const SequencePtr& s) { return !s->paused; });
  return at == running_.end() ? nullptr : at->get();
}

// Of the sequences whose blocks would become available, paused ones before others; null when there
// is none.
Sequence* Scheduler::cheapest_to_recompute() const {
  const Sequence* kept = oldest();
  Sequence* best = nullptr;
  for (const SequencePtr& s : running_) {
    if (s.get() == kept || s->ended() || blocks_.exclusive(s->blocks) == 0) continue;
    const bool better = best == nullptr || s->paused > best->paused ||
                        (s->paused == best->paused && s->computed <= best->computed);
    if (better) best = s.get();
  }
  return best;
}

// A paused sequence keeps its place and blocks only while nobody waits for them.
bool Scheduler::preempt_paused() {
  for (size_t i = running_.size(); i-- > 0;) {
    if (!running_[i]->paused || running_[i]->ended()) continue;
    preempt(*running_[i]);
    return true;
  }
  return false;
}

void Scheduler::preempt(Sequence& victim) {
  blocks_.release(victim.blocks);
  victim.computed = 0;
  ++victim.preemptions;
  ++plan_.preempted;
  insert(waiting_, remove(running_, victim), sooner);
}

// ---- Rows

void Scheduler::share_rows() {
  prefills_.clear();
  for (const SequencePtr& s : running_) {
    if (s->ended() || s->paused) continue;
    if (s->pending() > 1) {
      prefills_.push_back(s.get());
      continue;
    }
    plan_.load.add(1, s->computed);
    add_span(*s, 1);
    plan_.streaming = plan_.streaming || s->completion_tokens() > 0;
  }
  if (prefills_.empty()) return;
  std::sort(prefills_.begin(), prefills_.end(), [](const Sequence* a, const Sequence* b) {
    return std::pair(urgency(*a), a->id) < std::pair(urgency(*b), b->id);
  });
  shares_.assign(prefills_.size(), 0);
  const int most = limits_.batch_tokens - plan_.rows;
  const double decode_us = cost_.predict_us(plan_.load);
  const double until_us = plan_.streaming ? static_cast<double>(limits_.max_itl_us) : INFINITY;
  if (prefills_.size() > 1) {
    give(0, (most + 1) / 2, (decode_us + until_us) / 2);
    give(1, (most + 1) / 2, until_us);
  }
  for (size_t i = 0; i < prefills_.size(); ++i) give(i, most, until_us);
  const int least = std::min(kLeastChunk, prefills_[0]->pending());
  give(0, least - (plan_.load.rows - plan_.rows), INFINITY);
  for (size_t i = 0; i < prefills_.size(); ++i) {
    if (shares_[i] == 0) continue;
    --plan_.load.logit_rows;  // add_span knows whether there is one
    plan_.prompt_rows += shares_[i];
    add_span(*prefills_[i], shares_[i]);
  }
}

// More rows, at most so many and while the step is predicted to end in time.
void Scheduler::give(size_t prefill, int most, double until_us) {
  const Sequence& s = *prefills_[prefill];
  int& share = shares_[prefill];
  most = std::min({most, s.pending() - share, limits_.batch_tokens - plan_.load.rows});
  if (most <= 0) return;
  const int past = s.computed + share;
  // The first rows may bring a row of logits with them.
  StepLoad load = plan_.load;
  if (share == 0) ++load.logit_rows;
  const int rows = std::isinf(until_us) ? most : cost_.rows_within(load, past, most, until_us);
  if (rows == 0) return;
  share += rows;
  load.add(rows, past);
  plan_.load = load;
}

void Scheduler::add_span(Sequence& sequence, int rows) {
  SERVAL_CHECK(static_cast<int>(sequence.blocks.size()) >= blocks_for(sequence.computed + rows));
  plan_.spans.push_back({&sequence, rows});
  plan_.rows += rows;
  plan_.load.logit_rows += logit_rows(sequence, rows);
}

// ---- After the step

void Scheduler::commit(int64_t measured_us) {
  bool computed = true;
  for (const PlannedSpan& span : plan_.spans) {
    Sequence& s = *span.sequence;
    if (s.failed) {
      computed = false;
      continue;
    }
    const int first = s.computed / kBlockTokens;
    s.computed += span.rows;
    charge(s, s.computed);
    for (int i = first; s.use_cache && i < s.computed / kBlockTokens; ++i) {
      blocks_.publish(s.blocks, i,
                      std::span(s.tokens).subspan(static_cast<size_t>(i) * kBlockTokens,
                                                  static_cast<size_t>(kBlockTokens)),
                      s.domain);
    }
  }
  if (computed) cost_.observe(plan_.load, static_cast<double>(measured_us));
}

void Scheduler::sweep(const std::function<void(Sequence&)>& on_end) {
  for (auto* list : {&running_, &waiting_}) {
    for (const SequencePtr& s : *list) {
      if (!s->ended()) continue;
      on_end(*s);
      blocks_.release(s->blocks);
      tenants_.leave(*s->account);
      const bool whole = s->finished && *s->finished != FinishReason::kCancelled;
      if (whole && s->completion_tokens() > 0) answers_.record(s->completion_tokens());
    }
    std::erase_if(*list, [](const SequencePtr& s) { return s->ended(); });
  }
}

void Scheduler::check(std::vector<const BlockTable*> pinned) const {
  check_sequences();
  for (const SequencePtr& s : running_) pinned.push_back(&s->blocks);
  blocks_.check(pinned);
}

void Scheduler::check_sequences() const {
  SERVAL_CHECK(running() <= limits_.max_sequences);
  SERVAL_CHECK(std::is_sorted(running_.begin(), running_.end(), older));
  SERVAL_CHECK(std::is_sorted(waiting_.begin(), waiting_.end(), sooner));
  for (const SequencePtr& s : running_) {
    SERVAL_CHECK(s->computed <= s->known());
    SERVAL_CHECK(static_cast<int>(s->blocks.size()) >= blocks_for(s->computed));
    // What will be written belongs to the writer alone, and nobody can find it yet.
    for (auto i = static_cast<size_t>(s->computed / kBlockTokens); i < s->blocks.size(); ++i) {
      SERVAL_CHECK(blocks_.writable(s->blocks[i]));
    }
  }
  for (const SequencePtr& s : waiting_) SERVAL_CHECK(s->blocks.empty() && s->computed == 0);
  SERVAL_CHECK(plan_.rows <= limits_.batch_tokens && plan_.rows == plan_.load.rows);
  SERVAL_CHECK(!plan_.streaming || plan_.prompt_rows <= kLeastChunk ||
               plan_.load.logit_rows > static_cast<int>(plan_.spans.size()) ||
               plan_.predicted_us <= limits_.max_itl_us + limits_.max_itl_us / 8);
}

}  // namespace serval
