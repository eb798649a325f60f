// The twelve bytes that hold eight 6-bit scales and eight 6-bit minimums in Q4_K and Q5_K:
//
//   bytes 0..3    EEAAAAAA ...   scale of group j in the low 6 bits, top 2 bits of scale j + 4
//   bytes 4..7    eeaaaaaa ...   minimum of group j,                 top 2 bits of minimum j + 4
//   bytes 8..11   eeeeEEEE ...   low 4 bits of scale (low nibble) and minimum (high nibble) j + 4
#pragma once

#include <cstdint>

namespace serval {

struct ScaleMin {
  int scale;
  int minimum;
};

static inline ScaleMin scale_min(const uint8_t* s, int group) {
  if (group < 4) return {s[group] & 63, s[group + 4] & 63};
  return {(s[group + 4] & 15) | ((s[group - 4] >> 6) << 4),
          (s[group + 4] >> 4) | ((s[group] >> 6) << 4)};
}

}  // namespace serval
