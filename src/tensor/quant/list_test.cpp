#include "tensor/quant/list.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace serval {
namespace {

// Every property below is checked for every row of dtypes(): a new format is tested by being
// listed.
class EveryFormat : public ::testing::TestWithParam<DType> {
 protected:
  const DTypeInfo& format() const { return info(GetParam()); }
};

std::vector<uint8_t> random_bytes(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<uint8_t> bytes(count);
  for (uint8_t& b : bytes) b = static_cast<uint8_t>(random());
  return bytes;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST_P(EveryFormat, DecodesABlockAloneAsInARowAndAtAnyAddress) {
  const int blocks = 7;
  const auto block_bytes = static_cast<size_t>(format().block_bytes);
  const auto block_elements = static_cast<size_t>(format().block_elements);
  const auto bytes = random_bytes(blocks * block_bytes, 1);
  std::vector<float> row(blocks * block_elements);
  dequantize_row(GetParam(), bytes.data(), row.data(), static_cast<int64_t>(row.size()));

  std::vector<uint8_t> shifted(bytes.size() + 1);
  std::memcpy(shifted.data() + 1, bytes.data(), bytes.size());
  std::vector<float> again(row.size());
  for (size_t b = 0; b < blocks; ++b) {
    dequantize_row(GetParam(), shifted.data() + 1 + b * block_bytes,
                   again.data() + b * block_elements, static_cast<int64_t>(block_elements));
  }
  EXPECT_TRUE(same_bits(row, again));
}

TEST_P(EveryFormat, ZeroBytesDecodeToZero) {
  // Except where zero codes mean the lowest value of a grid: there the scale of zero makes it zero.
  const std::vector<uint8_t> bytes(static_cast<size_t>(format().block_bytes), 0);
  std::vector<float> out(static_cast<size_t>(format().block_elements), 1.0f);
  dequantize_row(GetParam(), bytes.data(), out.data(), static_cast<int64_t>(out.size()));
  for (const float value : out) EXPECT_EQ(value, 0.0f);
}

TEST_P(EveryFormat, EncodingStaysCloseToTheWeights) {
  if (!can_quantize(GetParam())) GTEST_SKIP() << "read-only format";
  std::mt19937 random(2);
  std::normal_distribution<float> normal(0.0f, 0.02f);
  const int blocks = 64;
  std::vector<float> weights(static_cast<size_t>(blocks * format().block_elements));
  for (float& w : weights) w = normal(random);
  const auto elements = static_cast<int64_t>(weights.size());
  std::vector<uint8_t> encoded(row_bytes(GetParam(), weights.size()));
  quantize_row(GetParam(), weights.data(), encoded.data(), elements);
  std::vector<float> decoded(weights.size());
  dequantize_row(GetParam(), encoded.data(), decoded.data(), elements);

  // 4 bits over +-3 sigma: half a step is well below 0.3 sigma. Wider types only do better.
  double error = 0;
  for (size_t i = 0; i < weights.size(); ++i) error += std::pow(weights[i] - decoded[i], 2);
  EXPECT_LT(std::sqrt(error / static_cast<double>(weights.size())), 0.3 * 0.02);
}

INSTANTIATE_TEST_SUITE_P(List, EveryFormat, ::testing::ValuesIn([] {
                           std::vector<DType> types;
                           for (const DTypeInfo& i : dtypes()) types.push_back(i.type);
                           return types;
                         }()),
                         [](const auto& test) {
                           return std::string(serval::info(test.param).name);
                         });

TEST(Half, EveryF16SurvivesARoundTrip) {
  for (uint32_t h = 0; h < 65536; ++h) {
    const auto bits = static_cast<uint16_t>(h);
    const float value = f16_to_f32(bits);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16(value))));
    } else {
      ASSERT_EQ(f32_to_f16(value), bits);
    }
  }
}

TEST(Half, EveryBf16SurvivesARoundTrip) {
  for (uint32_t h = 0; h < 65536; ++h) {
    const auto bits = static_cast<uint16_t>(h);
    const float value = bf16_to_f32(bits);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(value))));
    } else {
      ASSERT_EQ(f32_to_bf16(value), bits);
    }
  }
}

TEST(Half, RoundsToNearestEvenAtEveryMidpoint) {
  // Midpoints of neighbouring halves are exact in float32; the even neighbour must win.
  for (uint32_t h = 0; h < 0x7BFF; ++h) {
    const float low = f16_to_f32(static_cast<uint16_t>(h));
    const float high = f16_to_f32(static_cast<uint16_t>(h + 1));
    const float middle = low + (high - low) / 2;
    const uint32_t even = h % 2 == 0 ? h : h + 1;
    ASSERT_EQ(f32_to_f16(middle), even);
    ASSERT_EQ(f32_to_f16(std::nextafter(middle, low)), h);
    ASSERT_EQ(f32_to_f16(std::nextafter(middle, high)), h + 1);
  }
}

TEST(Half, OverflowBecomesInfinity) {
  EXPECT_EQ(f32_to_f16(65519.996f), 0x7BFF);
  EXPECT_EQ(f32_to_f16(65520.0f), 0x7C00);
  EXPECT_EQ(f32_to_f16(-1e30f), 0xFC00);
  EXPECT_EQ(f32_to_f16(std::numeric_limits<float>::infinity()), 0x7C00);
  EXPECT_EQ(f32_to_f16(0x1p-25f), 0);  // half of the smallest subnormal ties to even zero
  EXPECT_EQ(f32_to_f16(std::nextafter(0x1p-25f, 1.0f)), 1);
}

TEST(DTypes, AreFoundByNumberAndName) {
  for (const DTypeInfo& i : dtypes()) {
    EXPECT_EQ(dtype_from_gguf(i.gguf_id), i.type);
    EXPECT_EQ(dtype_from_name(i.name), i.type);
  }
  EXPECT_EQ(dtype_from_name("q4_k"), DType::kQ4_K);
  EXPECT_EQ(dtype_from_name("Q4_K "), std::nullopt);
  EXPECT_EQ(dtype_from_gguf(4), std::nullopt);  // a number GGML retired
}

}  // namespace
}  // namespace serval
