// Rounding and extremes shared by the encoders of the simple block formats.
#pragma once

namespace serval {

// Truncates to 0..top. NaN, which no weight should be, becomes 0.
static inline int truncate_to(float value, int top) {
  if (!(value > 0.0f)) return 0;
  return value >= static_cast<float>(top) ? top : static_cast<int>(value);
}

// Rounds half away from zero, clamped to +-limit. NaN becomes 0.
static inline int round_to(float value, int limit) {
  const float magnitude = __builtin_fabsf(value);
  if (!(magnitude > 0.0f)) return 0;
  if (magnitude >= static_cast<float>(limit)) return value < 0.0f ? -limit : limit;
  const int whole = static_cast<int>(magnitude);
  const int rounded = whole + (magnitude - static_cast<float>(whole) >= 0.5f ? 1 : 0);
  return value < 0.0f ? -rounded : rounded;
}

// The element farthest from zero, with its sign; the first of equals.
static inline float signed_extreme(const float* x, int count) {
  float best = x[0];
  float best_magnitude = __builtin_fabsf(best);
  for (int i = 1; i < count; ++i) {
    const float magnitude = __builtin_fabsf(x[i]);
    if (magnitude > best_magnitude) {
      best_magnitude = magnitude;
      best = x[i];
    }
  }
  return best;
}

struct Range {
  float low;
  float high;
};

static inline Range range_of(const float* x, int count) {
  Range range{x[0], x[0]};
  for (int i = 1; i < count; ++i) {
    if (x[i] < range.low) range.low = x[i];
    if (x[i] > range.high) range.high = x[i];
  }
  return range;
}

// 1 / d, and 0 for the all-zero block.
static inline float inverse_or_zero(float d) { return d == 0.0f ? 0.0f : 1.0f / d; }

}  // namespace serval
