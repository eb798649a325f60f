// Continuous batching (Yu et al., "Orca", OSDI 2022) with chunked prefill beside decodes (Agrawal
// et al., "Sarathi-Serve", OSDI 2024).
//
// plan() works in three passes so that no pass has to undo another: first every running sequence
// secures the blocks of its known tokens (this is where preemption happens), then waiting sequences
// are admitted with all blocks of their known tokens, then rows are shared out.
#include "engine/scheduler.h"

#include <algorithm>

#include "base/check.h"

namespace serval {
namespace {

int blocks_for(int tokens) { return (tokens + kBlockTokens - 1) / kBlockTokens; }

void insert_by_age(std::vector<SequencePtr>& list, SequencePtr sequence) {
  const auto at =
      std::upper_bound(list.begin(), list.end(), sequence,
                       [](const SequencePtr& a, const SequencePtr& b) { return a->id < b->id; });
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

// Whole blocks that may come from the cache: never the last known token, whose logits are wanted.
int reusable_blocks(const Sequence& s) {
  if (!s.use_cache) return 0;
  return std::min(s.known() - 1, s.reuse_limit) / kBlockTokens;
}

}  // namespace

Scheduler::Scheduler(const SchedulerLimits& limits, BlockManager& blocks)
    : limits_(limits), blocks_(blocks) {
  limits_.max_sequences = std::min(limits_.max_sequences, limits_.batch_tokens);
  const auto most = static_cast<size_t>(limits_.max_sequences);
  running_.reserve(most);
  prefills_.reserve(most);
  shares_.reserve(most);
  plan_.spans.reserve(most);
}

void Scheduler::add(SequencePtr sequence) { insert_by_age(waiting_, std::move(sequence)); }

Sequence* Scheduler::find(RequestId id) {
  for (const auto* list : {&running_, &waiting_}) {
    for (const SequencePtr& s : *list) {
      if (s->id == id) return s.get();
    }
  }
  return nullptr;
}

const StepPlan& Scheduler::plan() {
  plan_.spans.clear();
  plan_.rows = plan_.preempted = 0;
  secure_blocks();
  admit();
  share_rows();
  return plan_;
}

void Scheduler::secure_blocks() {
  // Oldest first; preemption may shorten the list behind `i`, or remove the sequence at `i`.
  for (size_t i = 0; i < running_.size();) {
    Sequence& sequence = *running_[i];
    if (sequence.ended() || sequence.paused || secure(sequence)) ++i;
  }
}

// False: the sequence itself was preempted.
bool Scheduler::secure(Sequence& sequence) {
  while (!blocks_.grow(sequence.blocks, blocks_for(sequence.known()))) {
    Sequence* victim = cheapest_to_recompute();
    if (victim == nullptr) {
      if (&sequence == oldest()) {
        sequence.finished = FinishReason::kContextFull;
        return true;
      }
      victim = &sequence;
    }
    preempt(*victim);
    if (victim == &sequence) return false;
  }
  return true;
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
  insert_by_age(waiting_, remove(running_, victim));
}

int Scheduler::prefill_rows_wanted() const {
  int wanted = 0;
  for (const SequencePtr& s : running_) {
    if (!s->paused && s->pending() > 1) wanted += s->pending();
  }
  return wanted;
}

// In order of age; the first that does not fit holds the place for itself.
void Scheduler::admit() {
  for (size_t i = 0; i < waiting_.size() && plan_.preempted == 0;) {
    const auto prefills = std::count_if(running_.begin(), running_.end(), [](const SequencePtr& s) {
      return !s->paused && s->pending() > 1;
    });
    if (prefills >= 2 && prefill_rows_wanted() >= limits_.batch_tokens) return;
    Sequence& sequence = *waiting_[i];
    if (sequence.ended() || sequence.paused) {
      ++i;
    } else if (running() < limits_.max_sequences && try_admit(sequence)) {
      insert_by_age(running_, remove(waiting_, sequence));
    } else if (preempt_paused() || !running_.empty()) {
      return;
    } else if (sequence.completion_tokens() > 0) {
      sequence.finished = FinishReason::kContextFull;
    } else {
      sequence.failed = Error(ErrorCode::kResourceExhausted,
                              "the prompt needs " + std::to_string(blocks_for(sequence.known())) +
                                  " KV blocks, but only " + std::to_string(blocks_.available()) +
                                  " are not held by loaded snapshots; release some or raise "
                                  "the KV pool");
    }
  }
}

bool Scheduler::try_admit(Sequence& sequence) {
  const int reusable = reusable_blocks(sequence);
  const BlockManager::Match match = blocks_.find(sequence.tokens, reusable);
  const int needed = blocks_for(sequence.known()) - match.blocks;
  // Beside others, leave each of them a block to grow into: else it would be preempted at once.
  const int headroom = running();
  if (needed + headroom > blocks_.available() - match.idle) return false;
  sequence.computed =
      blocks_.take_cached(sequence.tokens, reusable, sequence.blocks) * kBlockTokens;
  SERVAL_CHECK(blocks_.grow(sequence.blocks, blocks_for(sequence.known())));
  if (sequence.preemptions == 0) sequence.cached_tokens = sequence.computed;
  return true;
}

void Scheduler::share_rows() {
  int left = limits_.batch_tokens;
  prefills_.clear();
  for (const SequencePtr& s : running_) {
    if (s->ended() || s->paused) continue;
    if (s->pending() == 1) {
      add_span(*s, 1);
      --left;
    } else {
      prefills_.push_back(s.get());
    }
  }
  shares_.assign(prefills_.size(), 0);
  const auto give = [&](size_t sequences, int most) {
    for (size_t i = 0; i < sequences; ++i) {
      const int rows = std::min({prefills_[i]->pending() - shares_[i], most, left});
      shares_[i] += rows;
      left -= rows;
    }
  };
  if (prefills_.size() > 1) give(2, (left + 1) / 2);
  give(prefills_.size(), left);
  for (size_t i = 0; i < prefills_.size(); ++i) {
    if (shares_[i] > 0) add_span(*prefills_[i], shares_[i]);
  }
}

void Scheduler::add_span(Sequence& sequence, int rows) {
  plan_.spans.push_back({&sequence, rows});
  plan_.rows += rows;
}

void Scheduler::commit() {
  for (const PlannedSpan& span : plan_.spans) {
    Sequence& s = *span.sequence;
    if (s.failed) continue;
    const int first = s.computed / kBlockTokens;
    s.computed += span.rows;
    for (int i = first; s.use_cache && i < s.computed / kBlockTokens; ++i) {
      blocks_.publish(s.blocks, i,
                      std::span(s.tokens).subspan(static_cast<size_t>(i) * kBlockTokens,
                                                  static_cast<size_t>(kBlockTokens)));
    }
  }
}

void Scheduler::sweep(const std::function<void(Sequence&)>& on_end) {
  for (auto* list : {&running_, &waiting_}) {
    for (const SequencePtr& s : *list) {
      if (!s->ended()) continue;
      on_end(*s);
      blocks_.release(s->blocks);
    }
    std::erase_if(*list, [](const SequencePtr& s) { return s->ended(); });
  }
}

void Scheduler::check(std::vector<const BlockTable*> pinned) const {
  RequestId last = 0;
  SERVAL_CHECK(running() <= limits_.max_sequences);
  for (const SequencePtr& s : running_) {
    SERVAL_CHECK(running_.front() == s || s->id > last);
    last = s->id;
    SERVAL_CHECK(s->computed <= s->known());
    SERVAL_CHECK(static_cast<int>(s->blocks.size()) >= blocks_for(s->computed));
    pinned.push_back(&s->blocks);
  }
  for (const SequencePtr& s : waiting_) SERVAL_CHECK(s->blocks.empty() && s->computed == 0);
  blocks_.check(pinned);
}

}  // namespace serval
