// Team: the worker threads of the CPU backend, which run one phase of work after the other.
//
// A phase is a number of equal items. Every worker has its own share, in order, and when that is
// done takes what the others have not begun, so that a worker whose core is taken away delays a
// phase by the chunk in its hands and no more. What a phase wrote is seen by all later ones.
//
// Owner: CpuBackend. Threads: run() is called by one thread at a time, which is worker 0. Idle
// workers spin for some tens of microseconds, then yield, then sleep in the kernel after about two
// milliseconds, so an idle process uses no CPU and a token does not wait for a wake-up.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <initializer_list>
#include <memory>
#include <span>
#include <thread>
#include <type_traits>
#include <vector>

namespace serval::cpu {

// Usable cores: the affinity mask, limited by the cgroup CPU quota.
int usable_cores();

// work(worker, first, end) for items first .. end - 1, at most `grain` of them at a time; `worker`
// names the thread that does it, 0 .. size() - 1. Refers to `work`, which must outlive the run.
struct Phase {
  template <typename Work>
  Phase(int item_count, int item_grain, const Work& work)
      : count(item_count),
        grain(item_grain),
        function([](const void* object, int worker, int first, int end) {
          (*static_cast<const Work*>(object))(worker, first, end);
        }),
        context(&work) {}

  int count = 0;
  int grain = 1;
  void (*function)(const void* context, int worker, int first, int end) = nullptr;
  const void* context = nullptr;

  int chunks() const { return (count + grain - 1) / grain; }
};

class Team {
 public:
  // `threads` <= 0: usable_cores().
  explicit Team(int threads);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int size() const { return static_cast<int>(queues_.size()); }

  // Does the phases in order and returns when all is done. The first exception is rethrown then;
  // the chunks after it are left out.
  void run(std::span<const Phase> phases);
  void run(std::initializer_list<Phase> phases) { run(std::span(phases.begin(), phases.size())); }

  // A grain that gives every worker some eight chunks: few enough to claim for nothing, enough to
  // even out.
  int even_grain(int count) const;

 private:
  // A worker's unclaimed chunks in one word, so that a claim is one addition: phase, end, next.
  struct alignas(128) Queue {
    std::atomic<uint64_t> word{0};
  };
  struct Claim {
    int phase = 0;
    int chunk = 0;
  };

  bool take(Queue& queue, Claim& claim);
  void execute(const Claim& claim, int worker) noexcept;
  void begin_phase(int phase, int worker);
  bool work(int worker);
  void worker_loop(int worker);

  std::vector<Queue> queues_;
  // Of the present run. Read only with a claimed chunk in hand, when they cannot change.
  std::span<const Phase> phases_;
  int total_ = 0;                              // chunks of the present phase, and its publication
  alignas(128) std::atomic<int> finished_{0};  // of these

  std::atomic<bool> failed_{false};
  std::exception_ptr failure_;

  alignas(128) std::atomic<bool> running_{false};
  std::atomic<uint32_t> generation_{0};  // counts run() calls
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> threads_;
};

// The part of `count` items that belongs to `worker`, as [first, end); the first worker's is not
// smaller than the others'.
struct Range {
  int first = 0;
  int end = 0;
  int size() const { return end - first; }
};
inline Range split(int count, int worker, int workers) {
  const auto up_to = [&](int64_t w) {
    return static_cast<int>((int64_t{count} * w + workers - 1) / workers);
  };
  return {up_to(worker), up_to(worker + 1)};
}

}  // namespace serval::cpu
