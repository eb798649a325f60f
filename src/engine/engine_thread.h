// EngineThread: the core with its one thread, its inbox (the only way in) and its delivery (the
// only way out). Every public method may be called from any thread, except that run() must not be
// called from the engine or delivery thread.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <variant>
#include <vector>

#include "engine/core.h"
#include "engine/delivery.h"

namespace serval {

class EngineThread {
 public:
  EngineThread(const CoreParts& parts, int max_queue);
  // Cancels what runs, delivers the last events, then returns.
  ~EngineThread();
  EngineThread(const EngineThread&) = delete;
  EngineThread& operator=(const EngineThread&) = delete;

  RequestId next_id() { return next_id_.fetch_add(1, std::memory_order_relaxed); }
  // Error(kResourceExhausted) when too many requests wait already.
  Result<void> submit(SequencePtr sequence);
  // Takes effect before the next step.
  void cancel(RequestId id);
  void pause(RequestId id, bool paused);
  // Runs the job between two steps and waits for it; rethrows what it throws.
  void run(const std::function<void(Core&)>& job);

  // The same without waiting. The job must not throw.
  void later(std::function<void(Core&)> job) { post(Job(std::move(job))); }

  const Counters& counters() const { return counters_; }
  const StepRing& steps() const { return core_.steps(); }
  const LifeRing& lives() const { return core_.lives(); }
  size_t workspace_bytes() const { return core_.workspace_bytes(); }

 private:
  struct Cancel {
    RequestId id;
    int64_t arrived_us;
  };
  struct Pause {
    RequestId id;
    bool paused;
  };
  using Job = std::function<void(Core&)>;
  using Message = std::variant<SequencePtr, Cancel, Pause, Job>;

  void post(Message message);
  void loop();
  void sleep(std::unique_lock<std::mutex>& lock);  // until there is something to do
  void handle(Message& message);
  void step();

  const int max_queue_;
  const int max_sequences_;
  Counters counters_;
  std::atomic<RequestId> next_id_{1};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Message> inbox_;
  int inbox_sequences_ = 0;
  bool stopping_ = false;
  Delivery delivery_;
  Core core_;           // touched by thread_ only
  std::thread thread_;  // last: starts when everything else stands
};

}  // namespace serval
