// What this machine can do at best, measured with the backend's own kernels and team: the lines
// that `serval bench` compares every result with.
#pragma once

#include <memory>

namespace serval {

// What products multiply: quantised weights int8, BF16 weights bfloat16 pairs where the processor
// has such an instruction, else floats like F16 and F32 weights.
enum class DotKind { kInt8, kFloat, kBf16 };
constexpr int kDotKinds = 3;

// Measures whenever it is asked, in some tens of milliseconds, because the limits of a shared
// machine change while something else is measured. Keeps a team, asleep in between, and from the
// first read_bandwidth() on a buffer per worker. Used by one thread at a time.
class MachineProbe {
 public:
  explicit MachineProbe(int threads);  // <= 0: all usable cores
  ~MachineProbe();
  MachineProbe(const MachineProbe&) = delete;
  MachineProbe& operator=(const MachineProbe&) = delete;

  // GB/s read from memory by all workers, each from a buffer of its own. The best of several
  // passes. Throws Error(kOutOfMemory).
  double read_bandwidth();

  // 10^9 multiply-adds per second of all workers, operands in registers or the first-level cache.
  // The best of several passes.
  double dot_peak(DotKind kind);

 private:
  struct Workers;
  std::unique_ptr<Workers> workers_;
};

// Once, by a probe of their own. Thread-safe.
double measure_read_bandwidth(int threads);
double measure_dot_peak(int threads, DotKind kind);

}  // namespace serval
