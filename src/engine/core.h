// Core: the engine's state and its step, without threads. The engine thread calls it; tests call it
// with a fake model and a simulated clock.
#pragma once

#include <array>
#include <atomic>
#include <functional>

#include "engine/runner.h"
#include "engine/scheduler.h"
#include "engine/traffic.h"
#include "serval/engine.h"
#include "watch/life_ring.h"
#include "watch/step_ring.h"

namespace serval {

// Written by the engine thread, read by anyone.
struct Counters {
  std::atomic<int> running{0}, waiting{0}, blocks_used{0}, blocks_cached{0};
  std::atomic<uint64_t> steps{0}, prompt_tokens{0}, cached_tokens{0}, completion_tokens{0},
      cancelled{0}, disk_cached_tokens{0}, rows{0}, rows_after_cancel{0}, preemptions{0},
      step_us{0}, predicted_step_us{0}, weight_bytes{0}, kv_bytes{0};
  std::array<std::atomic<uint64_t>, kStepSeconds.size() + 1> step_histogram{};
};

struct CoreParts {
  const Model& model;
  Backend& backend;
  KvCache& kv;
  StepLimits limits;
  int vocab = 0;
  StepTraffic traffic = {};
  int max_itl_ms = 250;
  bool share_prefix_cache = false;
};

class Core {
 public:
  using Post = std::function<void(const OutletPtr&, Event)>;

  // Everything referenced must outlive the core.
  Core(const CoreParts& parts, Clock clock, Post post, Counters& counters);

  void add(SequencePtr sequence);
  // Called for every sequence that was added; may set `loading`. Then loaded() must follow.
  void on_add(std::function<void(Sequence&)> hook) { on_add_ = std::move(hook); }
  // What the sequence waited for is cached now, `disk_tokens` of it from disk.
  void loaded(RequestId id, int disk_tokens);
  Sequence* find(RequestId id) { return scheduler_.find(id); }
  void cancel(RequestId id, int64_t arrived_us);
  void pause(RequestId id, bool paused);
  void cancel_all();
  void fail_all(const Error& error);
  bool idle() const { return scheduler_.idle(); }
  // The last step found nothing to compute, and nothing changed since: there is nothing to do
  // before wake_us().
  bool stalled() const { return stalled_; }
  int64_t wake_us();  // INT64_MAX: not before a call

  void publish_counters();

  // plan -> run -> commit -> emit: one ragged batch.
  void step();

  BlockManager& blocks() { return blocks_; }
  const Scheduler& scheduler() const { return scheduler_; }
  KvCache& kv() { return kv_; }
  size_t workspace_bytes() const { return runner_.workspace_bytes(); }
  const StepRing& steps() const { return steps_; }
  const LifeRing& lives() const { return lives_; }
  // What watchers want to know of this moment; `out` keeps its memory from call to call.
  void survey(Survey& out, bool prefixes);

 private:
  void note_started(const StepPlan& plan);
  void note(LifeKind kind, const Sequence& sequence, int64_t at_us);
  void begin_record(const StepPlan& plan, int64_t begin_us);
  void end_record();
  void advance(const PlannedSpan& span);
  void take_token(Sequence& sequence);
  void expire(int64_t now_us);
  Event ending(Sequence& sequence);
  void sweep();

  BlockManager blocks_;
  Scheduler scheduler_;
  Runner runner_;
  KvCache& kv_;
  Clock clock_;
  Post post_;
  Counters& counters_;
  StepRing steps_;
  LifeRing lives_;
  StepTraffic traffic_;
  int64_t last_end_us_ = 0;
  bool stalled_ = false;
  std::vector<std::pair<OutletPtr, Event>> endings_;  // of one sweep
  std::function<void(Sequence&)> on_add_;
};

}  // namespace serval
