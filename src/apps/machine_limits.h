// What memory and processor of this machine can do at best, for programs that should start fast:
// measured once an hour at most, else read from the state folder.
#pragma once

#include <array>
#include <cstdint>

#include "backend/cpu/probe.h"

namespace serval {

struct MeasuredLimits {
  double gbytes_per_second = 0;
  std::array<double, kDotKinds> dots = {};  // 10^9 multiply-adds per second, by DotKind
  int64_t unix_ms = 0;                      // when
  double gmacs_per_second(DotKind kind) const { return dots[static_cast<size_t>(kind)]; }
};

// With `threads` workers; <= 0: all usable cores. What cannot be kept is measured again next time.
MeasuredLimits machine_limits(int threads);

}  // namespace serval
