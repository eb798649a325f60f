// What this machine can do at best, measured with the backend's own kernels and team: the lines
// that `serval bench` compares every result with. Each call takes some tens of milliseconds.
// Thread-safe.
#pragma once

namespace serval {

// GB/s read from memory by `threads` workers (<= 0: all usable cores), each from a buffer of its
// own. Best of several passes. Throws Error(kOutOfMemory).
double measure_read_bandwidth(int threads);

// What products multiply: quantised weights int8, BF16 weights bfloat16 pairs where the processor
// has such an instruction, else floats like F16 and F32 weights.
enum class DotKind { kInt8, kFloat, kBf16 };

// 10^9 multiply-adds per second of `threads` workers, operands in registers. Best of several
// passes.
double measure_dot_peak(int threads, DotKind kind = DotKind::kInt8);

}  // namespace serval
