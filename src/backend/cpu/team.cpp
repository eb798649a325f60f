// Spinning barrier with a phase counter (the sense-reversing barrier of Mellor-Crummey and Scott
// 1991, with the sense widened to a counter so that it survives any number of uses).
#include "backend/cpu/team.h"

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <string>

namespace serval::cpu {
namespace {

inline void pause_cpu() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

// Cores granted by the cgroup (v2, then v1), or a large number.
double cgroup_quota() {
  std::ifstream v2("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (v2 >> quota >> period && quota != "max" && period > 0)
    return std::atof(quota.c_str()) / period;
  std::ifstream v1_quota("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
  std::ifstream v1_period("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  double micros = 0;
  if (v1_quota >> micros && v1_period >> period && micros > 0 && period > 0) return micros / period;
  return 1e9;
}

// Spins, then yields; returns true when `ready`, false after `patience`.
template <typename Ready>
bool wait_awake(const Ready& ready, std::chrono::microseconds patience) {
  for (int i = 0; i < 4000; ++i) {
    if (ready()) return true;
    pause_cpu();
  }
  const auto end = std::chrono::steady_clock::now() + patience;
  while (!ready()) {
    std::this_thread::yield();
    if (std::chrono::steady_clock::now() > end) return ready();
  }
  return true;
}

constexpr std::chrono::microseconds kIdlePatience{2000};

}  // namespace

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int cores = static_cast<int>(std::thread::hardware_concurrency());
  if (sched_getaffinity(0, sizeof(set), &set) == 0) cores = CPU_COUNT(&set);
  const double quota = cgroup_quota();
  if (quota < cores) cores = static_cast<int>(quota);
  return std::max(cores, 1);
}

Team::Team(int threads) : size_(threads > 0 ? threads : usable_cores()) {
  threads_.reserve(static_cast<size_t>(size_) - 1);
  for (int worker = 1; worker < size_; ++worker) {
    threads_.emplace_back([this, worker] { worker_loop(worker); });
  }
}

Team::~Team() {
  stopping_ = true;
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Team::call(int worker) noexcept {
  try {
    function_(context_, worker);
  } catch (...) {
    if (!failed_.exchange(true)) failure_ = std::current_exception();
  }
}

void Team::run_erased(Function function, void* context) {
  function_ = function;
  context_ = context;
  if (size_ > 1) {
    generation_.fetch_add(1, std::memory_order_release);
    generation_.notify_all();
  }
  call(0);
  barrier();
  if (failed_.load(std::memory_order_relaxed)) {
    failed_.store(false, std::memory_order_relaxed);
    std::exception_ptr failure;
    std::swap(failure, failure_);
    std::rethrow_exception(failure);
  }
}

void Team::worker_loop(int worker) {
  uint32_t seen = 0;
  for (;;) {
    const auto changed = [&] { return generation_.load(std::memory_order_acquire) != seen; };
    while (!wait_awake(changed, kIdlePatience)) {
      generation_.wait(seen, std::memory_order_acquire);
    }
    ++seen;
    if (stopping_) return;
    call(worker);
    barrier();
  }
}

void Team::barrier() {
  if (size_ == 1) return;
  const uint32_t phase = phase_.load(std::memory_order_relaxed);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == static_cast<uint32_t>(size_)) {
    arrived_.store(0, std::memory_order_relaxed);
    phase_.store(phase + 1, std::memory_order_release);
    return;
  }
  const auto passed = [&] { return phase_.load(std::memory_order_acquire) != phase; };
  while (!wait_awake(passed, kIdlePatience)) {
  }
}

}  // namespace serval::cpu
