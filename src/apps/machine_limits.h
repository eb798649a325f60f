// What memory and processor of this machine can do at best, for programs that should start fast:
// measured once an hour at most, else read from the state folder.
#pragma once

#include <cstdint>

namespace serval {

struct MeasuredLimits {
  double gbytes_per_second = 0, gmacs_per_second = 0;
  int64_t unix_ms = 0;  // when
};

// With `threads` workers; <= 0: all usable cores. What cannot be kept is measured again next time.
MeasuredLimits machine_limits(int threads);

}  // namespace serval
