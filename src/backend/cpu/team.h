// Team: the worker threads of the CPU backend. One function runs on all of them at once (SPMD); the
// caller is worker 0.
//
// Owner: CpuBackend. Threads: run() is called by one thread at a time. Idle workers spin for some
// tens of microseconds, then yield, then sleep in the kernel after about two milliseconds, so an
// idle process uses no CPU and a token does not wait for a wake-up.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <thread>
#include <vector>

namespace serval::cpu {

// Usable cores: the affinity mask, limited by the cgroup CPU quota.
int usable_cores();

class Team {
 public:
  // `threads` <= 0: usable_cores().
  explicit Team(int threads);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int size() const { return size_; }

  // Calls work(worker) on every worker, 0 .. size() - 1, and returns when all have returned. The
  // first exception is rethrown; work that may throw must not use barrier().
  template <typename Work>
  void run(Work&& work) {
    run_erased([](void* context, int worker) { (*static_cast<Work*>(context))(worker); },
               const_cast<void*>(static_cast<const void*>(&work)));
  }

  // Waits for all workers; only inside run(). What was written before is seen by all after.
  void barrier();

 private:
  using Function = void (*)(void*, int);
  void run_erased(Function function, void* context);
  void worker_loop(int worker);
  void call(int worker) noexcept;

  int size_ = 1;
  Function function_ = nullptr;
  void* context_ = nullptr;
  std::atomic<bool> failed_{false};
  std::exception_ptr failure_;
  bool stopping_ = false;

  alignas(128) std::atomic<uint32_t> generation_{0};  // counts run() calls
  alignas(128) std::atomic<uint32_t> arrived_{0};
  alignas(128) std::atomic<uint32_t> phase_{0};  // counts completed barriers
  std::vector<std::thread> threads_;
};

// The part of `count` items that belongs to `worker`, as [first, end).
struct Range {
  int first = 0;
  int end = 0;
};
inline Range split(int count, int worker, int workers) {
  const int64_t n = count;
  return {static_cast<int>(n * worker / workers), static_cast<int>(n * (worker + 1) / workers)};
}

}  // namespace serval::cpu
