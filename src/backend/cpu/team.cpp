// Who finishes the last chunk of a phase begins the next one: it alone writes the queues then,
// since a phase cannot end while a chunk of it is claimed and unfinished. A claim tells by itself
// which phase it belongs to, so a worker that comes late, with its mind in an earlier phase, still
// takes valid work or none.
#include "backend/cpu/team.h"

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <string>
#include <utility>

#include "base/check.h"

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
constexpr int kChunksEach = 8;

// The word of a queue: 8 bits phase, 28 bits end, 28 bits next. Failed claims move `next` beyond
// `end`, by one per worker at most, as everyone looks before adding.
constexpr int kFieldBits = 28;
constexpr uint64_t kFieldMask = (uint64_t{1} << kFieldBits) - 1;
constexpr size_t kMaxPhases = 256;

uint64_t pack_word(int phase, Range chunks) {
  return static_cast<uint64_t>(phase) << (2 * kFieldBits) |
         static_cast<uint64_t>(chunks.end) << kFieldBits | static_cast<uint64_t>(chunks.first);
}
uint64_t next_of(uint64_t word) { return word & kFieldMask; }
uint64_t end_of(uint64_t word) { return word >> kFieldBits & kFieldMask; }
bool has_work(uint64_t word) { return next_of(word) < end_of(word); }

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

Team::Team(int threads) : queues_(static_cast<size_t>(threads > 0 ? threads : usable_cores())) {
  threads_.reserve(queues_.size() - 1);
  for (int worker = 1; worker < size(); ++worker) {
    threads_.emplace_back([this, worker] { worker_loop(worker); });
  }
}

Team::~Team() {
  stopping_.store(true, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

int Team::even_grain(int count) const { return std::max(1, count / (size() * kChunksEach)); }

bool Team::take(Queue& queue, Claim& claim) {
  if (!has_work(queue.word.load(std::memory_order_relaxed))) return false;
  const uint64_t word = queue.word.fetch_add(1, std::memory_order_acquire);
  claim = {static_cast<int>(word >> (2 * kFieldBits)), static_cast<int>(next_of(word))};
  return has_work(word);
}

void Team::execute(const Claim& claim, int worker) noexcept {
  if (failed_.load(std::memory_order_relaxed)) return;
  const Phase& phase = phases_[static_cast<size_t>(claim.phase)];
  const int first = claim.chunk * phase.grain;
  try {
    phase.function(phase.context, worker, first, std::min(first + phase.grain, phase.count));
  } catch (...) {
    if (!failed_.exchange(true)) failure_ = std::current_exception();
  }
}

// `worker` begins it, and publishes its own queue last: it will look at all the others after that,
// so none is overlooked even if everybody else looked too early. Publishing counts as one more
// chunk, or the others could end the phase, and begin the next, before all queues are written.
void Team::begin_phase(int phase, int worker) {
  for (;; ++phase) {
    while (phase < static_cast<int>(phases_.size()) &&
           phases_[static_cast<size_t>(phase)].count <= 0) {
      ++phase;
    }
    if (phase == static_cast<int>(phases_.size())) {
      running_.store(false, std::memory_order_release);
      return;
    }
    const int chunks = phases_[static_cast<size_t>(phase)].chunks();
    total_ = chunks + 1;
    finished_.store(0, std::memory_order_relaxed);
    for (int i = 1; i <= size(); ++i) {
      const int to = (worker + i) % size();
      queues_[static_cast<size_t>(to)].word.store(pack_word(phase, split(chunks, to, size())),
                                                  std::memory_order_release);
    }
    if (finished_.fetch_add(1, std::memory_order_acq_rel) != chunks) return;
  }
}

// Takes chunks until none is left anywhere, the own ones first. False: there were none.
bool Team::work(int worker) {
  int done = 0;
  int phase = 0;
  for (int i = 0; i < size(); ++i) {
    Queue& queue = queues_[static_cast<size_t>((worker + i) % size())];
    for (Claim claim; take(queue, claim); ++done) {
      execute(claim, worker);
      phase = claim.phase;
    }
  }
  if (done == 0) return false;
  // All were of one phase, which could not end before this report; `total_` is still its number.
  const int total = total_;
  if (finished_.fetch_add(done, std::memory_order_acq_rel) + done == total) {
    begin_phase(phase + 1, worker);
  }
  return true;
}

void Team::run(std::span<const Phase> phases) {
  SERVAL_CHECK(phases.size() < kMaxPhases);
  phases_ = phases;
  running_.store(true, std::memory_order_relaxed);
  if (size() > 1) {
    generation_.fetch_add(1, std::memory_order_release);
    generation_.notify_all();
  }
  begin_phase(0, 0);
  const auto ready = [&] {
    return !running_.load(std::memory_order_acquire) ||
           has_work(queues_[0].word.load(std::memory_order_relaxed));
  };
  while (running_.load(std::memory_order_acquire)) {
    if (!work(0)) wait_awake(ready, kIdlePatience);
  }
  if (failed_.load(std::memory_order_relaxed)) {
    failed_.store(false, std::memory_order_relaxed);
    std::rethrow_exception(std::exchange(failure_, nullptr));
  }
}

void Team::worker_loop(int worker) {
  const Queue& own = queues_[static_cast<size_t>(worker)];
  uint32_t seen = 0;
  for (;;) {
    const auto ready = [&] {
      return has_work(own.word.load(std::memory_order_relaxed)) ||
             generation_.load(std::memory_order_relaxed) != seen;
    };
    if (!wait_awake(ready, kIdlePatience) && !running_.load(std::memory_order_relaxed)) {
      generation_.wait(seen, std::memory_order_relaxed);
    }
    seen = generation_.load(std::memory_order_acquire);
    if (stopping_.load(std::memory_order_relaxed)) return;
    while (work(worker)) {
    }
  }
}

}  // namespace serval::cpu
