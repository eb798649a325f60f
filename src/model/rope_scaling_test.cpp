// Frequencies against the formulas of the papers, evaluated here in another form.
#include "model/rope_scaling.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

namespace serval {
namespace {

constexpr int kDims = 128;
constexpr double kBase = 10000.0;

double plain(int pair) { return std::exp(-std::log(kBase) * 2.0 * pair / kDims); }

TEST(RopeScaling, PlainFrequenciesAreGeometric) {
  const RopeSpec spec = make_rope_spec(RopeStyle::kHalves, kDims, kBase, {});
  ASSERT_EQ(spec.inverse_frequency.size(), 64U);
  EXPECT_EQ(spec.magnitude, 1.0F);
  for (int i = 0; i < 64; ++i) EXPECT_NEAR(spec.inverse_frequency[i] / plain(i), 1.0, 1e-12);
}

TEST(RopeScaling, LinearDividesAll) {
  RopeScaling scaling{.kind = RopeScaling::Kind::kLinear, .factor = 8.0};
  const RopeSpec spec = make_rope_spec(RopeStyle::kHalves, kDims, kBase, scaling);
  EXPECT_EQ(spec.magnitude, 1.0F);
  for (int i = 0; i < 64; ++i) EXPECT_NEAR(spec.inverse_frequency[i] * 8 / plain(i), 1.0, 1e-12);
}

// The paper's figures for Llama 2: 4096 tokens, factor 16, beta 32 and 1. A pair that turns r times
// over the original context keeps its frequency when r > 32 and is divided when r < 1.
TEST(RopeScaling, YarnInterpolatesSlowPairsOnly) {
  const RopeScaling scaling{
      .kind = RopeScaling::Kind::kYarn, .factor = 16.0, .original_context = 4096};
  const RopeSpec spec = make_rope_spec(RopeStyle::kHalves, kDims, kBase, scaling);
  EXPECT_NEAR(spec.magnitude, 0.1 * std::log(16.0) + 1.0, 1e-6);
  int kept = 0, divided = 0;
  double previous = 1.0;
  for (int i = 0; i < 64; ++i) {
    const double turns = 4096 * plain(i) / (2 * std::numbers::pi);
    const double ratio = spec.inverse_frequency[i] / plain(i);
    EXPECT_LE(ratio, previous + 1e-12);
    previous = ratio;
    // The borders are rounded outwards to whole pairs: index 20 (turns > 32) and 46 (turns < 1).
    if (i <= 20) {
      EXPECT_GT(turns, 32.0);
      EXPECT_NEAR(ratio, 1.0, 1e-12);
      ++kept;
    } else if (i >= 46) {
      EXPECT_LT(turns, 1.0);
      EXPECT_NEAR(ratio, 1.0 / 16.0, 1e-12);
      ++divided;
    } else {
      const double ramp = (i - 20) / 26.0;
      EXPECT_NEAR(ratio, ramp / 16.0 + 1.0 - ramp, 1e-12);
    }
  }
  EXPECT_EQ(kept, 21);
  EXPECT_EQ(divided, 18);
}

TEST(RopeScaling, FactorsDivideEachPair) {
  RopeSpec spec = make_rope_spec(RopeStyle::kAdjacent, 4, kBase, {});
  divide_frequencies(spec, std::vector<float>{1.0F, 4.0F});
  EXPECT_DOUBLE_EQ(spec.inverse_frequency[0], 1.0);
  EXPECT_DOUBLE_EQ(spec.inverse_frequency[1], 0.01 / 4.0);
}

}  // namespace
}  // namespace serval
