// Scheduler: decides which rows the next step computes. A plain object without threads, clock or
// model; the engine core calls plan(), computes, and calls commit().
//
// Policy: one row for every sequence that only needs its next token; what is left of the step's
// rows goes to prompts, oldest first, the two oldest sharing it evenly so that a short prompt
// passes a long one. A sequence is admitted when the blocks of all its known tokens fit. When a
// running sequence needs a block and none is left, the one that is cheapest to compute again (never
// the oldest) gives its blocks back and waits to be computed again; a sequence that cannot grow
// although nobody else could yield ends as context-full. The oldest always advances, so every one
// does.
#pragma once

#include <memory>
#include <vector>

#include "engine/block_manager.h"
#include "engine/sequence.h"

namespace serval {

struct SchedulerLimits {
  int batch_tokens = 512;  // rows per step
  int max_sequences = 16;  // running at once, at most batch_tokens
};

struct PlannedSpan {
  Sequence* sequence = nullptr;
  int rows = 0;  // the next `rows` uncomputed tokens
};
struct StepPlan {
  std::vector<PlannedSpan> spans;
  int rows = 0;
  int preempted = 0;         // sequences that gave their blocks back
  int64_t predicted_us = 0;  // by the cost model; 0: unknown
};

class Scheduler {
 public:
  // `blocks` must outlive the scheduler.
  Scheduler(const SchedulerLimits& limits, BlockManager& blocks);

  // REQUIRES: fits the pool when alone (input checks it); ids rise.
  void add(SequencePtr sequence);
  Sequence* find(RequestId id);

  // The next step; empty only if nothing waits or runs that is not paused, or while blocks change
  // hands. Sequences that cannot go on are ended here.
  const StepPlan& plan();
  // The planned rows of every sequence that did not fail were computed: counts them and publishes
  // full blocks.
  void commit();
  // Drops the sequences that ended (by plan, or marked by the caller), returning their blocks.
  // Hands each to `on_end` first.
  void sweep(const std::function<void(Sequence&)>& on_end);

  int running() const { return static_cast<int>(running_.size()); }
  int waiting() const { return static_cast<int>(waiting_.size()); }
  bool idle() const { return running_.empty() && waiting_.empty(); }
  template <typename Visit>
  void for_each(const Visit& visit) {
    for (const SequencePtr& s : running_) visit(*s);
    for (const SequencePtr& s : waiting_) visit(*s);
  }

  // Checks every invariant that can be seen between steps; `pinned`: tables of others.
  void check(std::vector<const BlockTable*> pinned = {}) const;

 private:
  void secure_blocks();
  bool secure(Sequence& sequence);
  const Sequence* oldest() const;
  Sequence* cheapest_to_recompute() const;
  bool preempt_paused();
  void preempt(Sequence& victim);
  void admit();
  bool try_admit(Sequence& sequence);
  void share_rows();
  void add_span(Sequence& sequence, int rows);
  int prefill_rows_wanted() const;

  SchedulerLimits limits_;
  BlockManager& blocks_;
  std::vector<SequencePtr> running_;  // by age, oldest first
  std::vector<SequencePtr> waiting_;  // by age
  std::vector<Sequence*> prefills_;   // of the plan being made
  std::vector<int> shares_;
  StepPlan plan_;
};

}  // namespace serval
