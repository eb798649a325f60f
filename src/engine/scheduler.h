// Scheduler: decides which rows the next step computes. A plain object without threads, clock or
// model; the engine core calls plan(), computes, and calls commit() with the time it took.
//
// Rows. One row for every sequence that only needs its next token: decodes come first, in every
// step. While one of them waits for its next token, prompts get as many rows as the cost model says
// still fit in max_itl_us, and a few in any case, so that a prompt always advances; otherwise they
// get all rows. The two most urgent prompts share them evenly, so that a short prompt passes a long
// one; what they leave goes to the others.
//
// Order. Tenants get equal shares of the computed rows. Within a tenant the shortest remaining
// prompt is the most urgent, but with age: a sequence ranks by its remaining prompt tokens, plus 32
// for every sequence that was admitted before it arrived, less 64 for every point of priority. So
// no sequence is overtaken by one of its tenant that arrived more than
// (prompt tokens + 64 * difference of priority) / 32 admissions after it.
//
// Admission. A sequence begins when it fits together with those that run until all of them have
// ended, their answers being as long as answers lately were. One that does not fit is passed over
// 16 times; then room is kept for it. Who shares a prefix that another one is computing just now
// waits for it, and copies what begins a block alike, so that equal prompts are computed once, but
// for their last token.
//
// Memory. When a running sequence needs a block and none is left, the one that is cheapest to
// compute again (never the oldest) gives its blocks back and waits, ahead of all others, to be
// computed again; a sequence that cannot grow although nobody else could yield ends as
// context-full. The oldest always advances, so every one does.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "engine/sequence.h"
#include "schedule/block_manager.h"
#include "schedule/cost_model.h"

namespace serval {

struct SchedulerLimits {
  int batch_tokens = 512;        // rows per step
  int max_sequences = 16;        // running at once, at most batch_tokens
  int64_t max_itl_us = 250'000;  // most between two tokens of a sequence, as far as foreseeable
  bool share_prefix_cache = false;
};

struct PlannedSpan {
  Sequence* sequence = nullptr;
  int rows = 0;  // the next `rows` uncomputed tokens
};
struct StepPlan {
  std::vector<PlannedSpan> spans;
  int rows = 0;
  int prompt_rows = 0;     // of these, in spans that do not only need their next token
  bool streaming = false;  // somebody waits for the next token of an answer
  int preempted = 0;       // sequences that gave their blocks back
  StepLoad load;
  int64_t predicted_us = 0;  // by the cost model
};

class Scheduler {
 public:
  // Copies the K/V of one block over another's, before any row of the next step is computed.
  using CopyBlock = std::function<void(BlockId from, BlockId to)>;
  // A prompt gets so many rows in a step at least, if any gets rows.
  static constexpr int kLeastChunk = 8;

  // `blocks` must outlive the scheduler. Without `copy`, only whole blocks are reused.
  Scheduler(const SchedulerLimits& limits, BlockManager& blocks, CopyBlock copy = {});

  // REQUIRES: fits the pool when alone (input checks it); ids rise.
  void add(SequencePtr sequence);
  Sequence* find(RequestId id);

  // The next step; empty only if nothing waits or runs that is not paused or loading, or while
  // blocks change hands. Sequences that cannot go on are ended here.
  const StepPlan& plan();
  // The planned rows of every sequence that did not fail were computed, in `measured_us` (0: not
  // known): counts them and publishes full blocks.
  void commit(int64_t measured_us = 0);
  // Drops the sequences that ended (by plan, or marked by the caller), returning their blocks.
  // Hands each to `on_end` first.
  void sweep(const std::function<void(Sequence&)>& on_end);

  int running() const { return static_cast<int>(running_.size()); }
  int waiting() const { return static_cast<int>(waiting_.size()); }
  bool idle() const { return running_.empty() && waiting_.empty(); }
  const CostModel& cost() const { return cost_; }
  template <typename Visit>
  void for_each(const Visit& visit) {
    for (const SequencePtr& s : running_) visit(*s);
    for (const SequencePtr& s : waiting_) visit(*s);
  }
  const FairShare& tenants() const { return tenants_; }

  // Checks every invariant that can be seen between plan() and the next; `pinned`: tables of
  // others.
  void check(std::vector<const BlockTable*> pinned = {}) const;
  // All but those that need `pinned`; the core does so after every step of a debug build.
  void check_sequences() const;

 private:
  enum class Verdict { kAdmitted, kLater, kNoRoom };
  // What a waiting sequence need not compute: whole blocks, then leading rows of another block.
  struct Reuse {
    BlockManager::Match match;
    BlockManager::Partial partial;
    int tokens() const { return match.blocks * kBlockTokens + partial.rows; }
  };

  void secure_blocks();
  void secure(Sequence& sequence);
  const Sequence* oldest() const;
  Sequence* cheapest_to_recompute() const;
  bool preempt_paused();
  void preempt(Sequence& victim);

  // scheduler_admission.cpp
  void admit();
  Sequence* next_candidate();
  Verdict consider(Sequence& sequence);
  bool crowded(const Sequence& sequence) const;
  bool awaits_prefix(const Sequence& sequence, const Reuse& reuse) const;
  Reuse reusable(const Sequence& sequence) const;
  bool fits(const Sequence& sequence, const BlockManager::Match& match);
  void take(Sequence& sequence, const Reuse& reuse);
  void refuse(Sequence& sequence) const;
  static void charge(Sequence& sequence, int tokens);

  void share_rows();
  void give(size_t prefill, int most, double until_us);
  void add_span(Sequence& sequence, int rows);

  SchedulerLimits limits_;
  BlockManager& blocks_;
  CopyBlock copy_;
  std::vector<SequencePtr> running_;  // by age, oldest first
  std::vector<SequencePtr> waiting_;  // preempted ones by age, then by urgency
  std::vector<Sequence*> prefills_;   // of the plan being made, by urgency
  std::vector<int> shares_;           // their rows
  std::vector<Growth> growth_;
  FairShare tenants_;
  AnswerLengths answers_;
  CostModel cost_;
  int64_t admissions_ = 0;
  uint64_t plans_ = 0;
  StepPlan plan_;
};

// Remaining prompt and age in one number; the smaller one is the more urgent.
inline int64_t urgency(const Sequence& s) { return s.arrival + s.pending(); }

inline int blocks_for(int tokens) { return (tokens + kBlockTokens - 1) / kBlockTokens; }

}  // namespace serval
