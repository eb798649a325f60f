// The clock of everything that the engine records and that watchers compare with it.
#pragma once

#include <chrono>
#include <cstdint>

namespace serval {

// Microseconds of the monotonic clock; its zero is the machine's affair.
inline int64_t monotonic_us() {
  return std::chrono::duration_cast<std::chrono::microseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace serval
