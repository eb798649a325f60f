// The arithmetic of the reference backend: float32 values, double accumulation, nothing clever.
#pragma once

#include <cmath>
#include <cstdint>

#include "backend/backend.h"

namespace serval::scalar {

// Eight running sums, because a single one would wait for each addition; added up in index order.
inline double dot(const float* a, const float* b, int64_t n) {
  constexpr int kLanes = 8;
  double sums[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      sums[lane] += static_cast<double>(a[i + lane]) * static_cast<double>(b[i + lane]);
    }
  }
  double total = 0.0;
  for (const double sum : sums) total += sum;
  for (; i < n; ++i) total += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return total;
}

// y[n] = norm(x[n]); y may be x. Root mean square norm: https://arxiv.org/abs/1910.07467
inline void norm(const Norm& norm, const float* x, float* y, int n) {
  double mean = 0.0;
  if (norm.kind == NormKind::kLayer) {
    for (int i = 0; i < n; ++i) mean += static_cast<double>(x[i]);
    mean /= n;
  }
  double squares = 0.0;
  for (int i = 0; i < n; ++i) {
    const double centred = static_cast<double>(x[i]) - mean;
    squares += centred * centred;
  }
  const double inverse = 1.0 / std::sqrt(squares / n + static_cast<double>(norm.epsilon));
  const float* weight = norm.weight->floats();
  const float* bias = norm.bias != nullptr ? norm.bias->floats() : nullptr;
  for (int i = 0; i < n; ++i) {
    double value = (static_cast<double>(x[i]) - mean) * inverse * static_cast<double>(weight[i]);
    if (bias != nullptr) value += static_cast<double>(bias[i]);
    y[i] = static_cast<float>(value);
  }
}

// Rotates the pairs of one head in place: https://arxiv.org/abs/2104.09864
inline void rope(const RopeSpec& spec, int32_t position, float* head) {
  const int half = spec.dims / 2;
  for (int i = 0; i < half; ++i) {
    const double angle =
        static_cast<double>(position) * spec.inverse_frequency[static_cast<size_t>(i)];
    const double cosine = std::cos(angle) * static_cast<double>(spec.magnitude);
    const double sine = std::sin(angle) * static_cast<double>(spec.magnitude);
    const bool adjacent = spec.style == RopeStyle::kAdjacent;
    float& first = head[adjacent ? 2 * i : i];
    float& second = head[adjacent ? 2 * i + 1 : i + half];
    const double a = static_cast<double>(first);
    const double b = static_cast<double>(second);
    first = static_cast<float>(a * cosine - b * sine);
    second = static_cast<float>(a * sine + b * cosine);
  }
}

// SiLU, or GELU in its tanh form: https://arxiv.org/abs/1606.08415
inline double activate(Activation activation, double x) {
  constexpr double kSqrtTwoOverPi = 0.79788456080286535588;
  switch (activation) {
    case Activation::kSiluGated:
    case Activation::kSilu:
      return x / (1.0 + std::exp(-x));
    case Activation::kGeluTanhGated:
    case Activation::kGeluTanh:
      break;
  }
  return 0.5 * x * (1.0 + std::tanh(kSqrtTwoOverPi * (x + 0.044715 * x * x * x)));
}

inline double softcap(double value, float cap) {
  if (cap <= 0.0F) return value;
  return static_cast<double>(cap) * std::tanh(value / static_cast<double>(cap));
}

}  // namespace serval::scalar
