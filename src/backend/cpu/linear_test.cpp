// Matrix products: against float64 arithmetic on the same quantised activations, bitwise the same
// whatever else is in the batch, and weights decoded exactly as the file format defines them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cfenv>
#include <cmath>
#include <functional>

#include "backend/cpu/packed_linear.h"
#include "backend/cpu/test_support.h"

namespace serval {
namespace {

bool is_float(DType type) {
  return type == DType::kF32 || type == DType::kF16 || type == DType::kBF16;
}

// The activation that the kernels multiply: per 32 values int8 steps that fit all, or all but the
// largest, which then may take 127 * 128 steps, if that lowers the squared step enough.
std::vector<double> quantized(const float* x, int k) {
  std::vector<double> out(static_cast<size_t>(k));
  double squares = 0;
  for (int i = 0; i < k; ++i) squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  for (int c = 0; c < k; c += 32) {
    std::vector<float> sizes;
    for (int i = 0; i < 32; ++i) sizes.push_back(std::fabs(x[c + i]));
    std::nth_element(sizes.begin(), sizes.begin() + 1, sizes.end(), std::greater<>());
    const float largest = *std::max_element(sizes.begin(), sizes.end());
    const double saved = static_cast<double>(largest) * static_cast<double>(largest) -
                         static_cast<double>(sizes[1]) * static_cast<double>(sizes[1]);
    const float scale = saved > 16.0 * squares / k
                            ? std::max(sizes[1] * (1.0F / 127.0F), largest * (1.0F / 16256.0F))
                            : largest * (1.0F / 127.0F);
    for (int i = 0; i < 32; ++i) {
      const float q = std::nearbyintf(x[c + i] * (1.0F / scale));
      out[static_cast<size_t>(c + i)] = static_cast<double>(q) * static_cast<double>(scale);
    }
  }
  return out;
}

// Rounded to bfloat16, as kernels with bfloat16 dot products take it for BF16 weights.
std::vector<double> rounded(const float* x, int k) {
  std::vector<double> out;
  for (int i = 0; i < k; ++i) {
    out.push_back(static_cast<double>(bf16_to_f32(f32_to_bf16(x[i]))));
  }
  return out;
}

// What the kernels make of a row of activations.
std::vector<double> operands(const std::string& isa, DType type, const float* x, int k) {
  if (!is_float(type)) return quantized(x, k);
  if (type != DType::kBF16 || isa != "avx512bf16") return {x, x + k};
  return rounded(x, k);
}

struct Case {
  std::string isa;
  DType type;
};

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const std::string& isa : usable_isas()) {
    for (const DTypeInfo& i : dtypes()) cases.push_back({isa, i.type});
  }
  return cases;
}

class LinearTest : public testing::TestWithParam<Case> {
 protected:
  static std::vector<int> widths(DType type) {
    if (info(type).block_elements == 256) return {256, 768, 2304};
    if (is_float(type)) return {1, 2, 3, 33, 96, 576, 1025, 1055};
    return {32, 96, 576, 896, 2080};
  }
};

INSTANTIATE_TEST_SUITE_P(All, LinearTest, testing::ValuesIn(all_cases()),
                         [](const testing::TestParamInfo<Case>& p) {
                           return p.param.isa + "_" + std::string(serval::info(p.param.type).name);
                         });

std::vector<float> product(Backend& backend, const Linear& linear, const float* x, int rows) {
  const OneSpan span(rows);
  const ForwardBatch batch = span.batch();
  std::vector<float> in(x, x + static_cast<ptrdiff_t>(rows) * linear.in_features());
  std::vector<float> out(static_cast<size_t>(rows) * static_cast<size_t>(linear.out_features()));
  backend.begin_step(batch);
  backend.project_add(view(in, rows), linear, nullptr, view(out, rows));
  backend.end_step();
  return out;
}

// Integer sums that are as large as they can be must not wrap.
TEST_P(LinearTest, HoldsTheLargestCodes) {
  if (is_float(GetParam().type)) return;
  const auto backend = create_cpu_backend({1, GetParam().isa});
  const int k = 256;
  for (const int rows : {1, 8, 40}) {
    MemoryTensors tensors;
    const TensorRef ref = tensors.add("w", GetParam().type, 16, k, MemoryTensors::kAllBits);
    const auto linear = backend->pack({"linear", {ref}, {}}, tensors);
    const std::vector<float> x(static_cast<size_t>(rows * k), 1.0F);
    const auto y = product(*backend, *linear, x.data(), rows);
    for (int o = 0; o < 16; ++o) {
      double want = 0;
      double magnitude = 0;
      for (const float w : tensors.row(ref, o)) {
        want += static_cast<double>(w);
        magnitude += std::fabs(static_cast<double>(w));
      }
      ASSERT_NEAR(y[static_cast<size_t>(o)], want, 1e-3 * magnitude + 1e-3) << rows << " rows";
    }
  }
}

TEST_P(LinearTest, MatchesFloat64OnTheSameOperands) {
  const auto backend = create_cpu_backend({2, GetParam().isa});
  for (const int k : widths(GetParam().type)) {
    for (const int rows : {1, 5, 8, 21}) {
      const int outputs = 43;
      MemoryTensors tensors;
      const TensorRef ref = tensors.add("w", GetParam().type, outputs, k, static_cast<uint32_t>(k));
      const auto bias = random_floats(outputs, 9);
      const TensorRef bias_ref = tensors.add_floats("b", bias);
      const auto linear = backend->pack({"linear", {ref}, {bias_ref}}, tensors);
      auto x = random_floats(static_cast<size_t>(rows * k), 7);
      // Spikes of all sizes, also beyond what 128 steps of 127 can hold.
      for (size_t i = 5; i < x.size(); i += 37) x[i] *= std::ldexp(1.0F, static_cast<int>(i % 11));
      const auto y = product(*backend, *linear, x.data(), rows);
      for (int r = 0; r < rows; ++r) {
        const auto a = operands(GetParam().isa, GetParam().type, x.data() + r * k, k);
        for (int o = 0; o < outputs; ++o) {
          const auto w = tensors.row(ref, o);
          double want = static_cast<double>(bias[static_cast<size_t>(o)]);
          double magnitude = std::fabs(want);
          for (size_t i = 0; i < w.size(); ++i) {
            want += static_cast<double>(w[i]) * a[i];
            magnitude += std::fabs(static_cast<double>(w[i]) * a[i]);
          }
          // Formats with minimums cancel: scale * code and min are each larger than the weight.
          ASSERT_NEAR(y[static_cast<size_t>(r * outputs + o)], want, 2e-6 * magnitude + 1e-6)
              << "k " << k << " rows " << rows << " row " << r << " output " << o;
        }
      }
    }
  }
}

// Any number of rows at once, on one thread or two, gives each row's bits alone.
void expect_same_rows(const Case& of, int outputs, int k, const std::vector<int>& counts) {
  const auto one = create_cpu_backend({1, of.isa});
  const auto two = create_cpu_backend({2, of.isa});
  MemoryTensors tensors;
  const TensorRef ref = tensors.add("w", of.type, outputs, k, 3);
  const auto linear_one = one->pack({"linear", {ref}, {}}, tensors);
  const auto linear_two = two->pack({"linear", {ref}, {}}, tensors);
  const int total = counts.back();
  auto x = random_floats(static_cast<size_t>(total * k), 11);
  for (size_t i = 3; i < x.size(); i += 41) x[i] *= 50.0F;
  std::vector<float> alone;
  for (int r = 0; r < total; ++r) {
    const auto y = product(*one, *linear_one, x.data() + r * k, 1);
    alone.insert(alone.end(), y.begin(), y.end());
  }
  for (const int rows : counts) {
    const int first = total - rows;
    for (const auto& y : {product(*one, *linear_one, x.data() + first * k, rows),
                          product(*two, *linear_two, x.data() + first * k, rows)}) {
      ASSERT_EQ(std::memcmp(y.data(), alone.data() + first * outputs, y.size() * sizeof(float)), 0)
          << rows << " rows";
    }
  }
}

const std::vector<int> kCounts = {2, 3, 4, 5, 6, 7, 8, 9, 16, 17, 24, 31, 33, 40, 70};

TEST_P(LinearTest, RowsDoNotDependOnTheBatch) {
  expect_same_rows(GetParam(), 75, widths(GetParam().type).back(), kCounts);
}

// Two groups of rows, of whole tiles and a rest.
TEST_P(LinearTest, RowsDoNotDependOnTheirGroup) {
  expect_same_rows(GetParam(), 35, info(GetParam().type).block_elements == 256 ? 256 : 96, {599});
}

TEST_P(LinearTest, RowsOfAHeadDoNotDependOnTheBatch) {
  const int k = is_float(GetParam().type) ? 33 : info(GetParam().type).block_elements;
  expect_same_rows(GetParam(), cpu::kHeadRatio * k + 3, k, kCounts);
}

TEST_P(LinearTest, DecodesRowsExactly) {
  const auto backend = create_cpu_backend({2, GetParam().isa});
  for (const int k : widths(GetParam().type)) {
    const int vocab = 37;
    MemoryTensors tensors;
    const TensorRef ref = tensors.add("w", GetParam().type, vocab, k, static_cast<uint32_t>(k));
    const auto table = backend->pack_embedding(ref, false, tensors);
    OneSpan span(vocab);
    for (int i = 0; i < vocab; ++i) span.tokens[static_cast<size_t>(i)] = i;
    std::vector<float> x(static_cast<size_t>(vocab * k));
    backend->begin_step(span.batch());
    backend->embed(*table, 1.0F, view(x, vocab));
    backend->end_step();
    for (int r = 0; r < vocab; ++r) {
      const auto want = tensors.row(ref, r);
      for (int i = 0; i < k; ++i) {
        ASSERT_EQ(x[static_cast<size_t>(r * k + i)], want[static_cast<size_t>(i)]) << r << ' ' << i;
      }
    }
  }
}

// Different formats behind one input, as Q4_K_M files have them.
TEST(MixedLinear, PartsKeepTheirFormats) {
  for (const std::string& isa : usable_isas()) {
    const auto backend = create_cpu_backend({2, isa});
    MemoryTensors tensors;
    const int k = 256;
    LinearSpec mixed{
        "qkv",
        {tensors.add("q", DType::kQ4_K, 48, k, 1), tensors.add("k", DType::kQ6_K, 20, k, 2),
         tensors.add("v", DType::kQ8_0, 17, k, 3), tensors.add("w", DType::kF16, 5, k, 4)},
        {}};
    const auto linear = backend->pack(mixed, tensors);
    const auto x = random_floats(static_cast<size_t>(3 * k), 5);
    const auto together = product(*backend, *linear, x.data(), 3);
    int column = 0;
    for (const TensorRef& part : mixed.parts) {
      const auto single = backend->pack({"part", {part}, {}}, tensors);
      const auto y = product(*backend, *single, x.data(), 3);
      for (int r = 0; r < 3; ++r) {
        for (int o = 0; o < part.rows; ++o) {
          EXPECT_EQ(together[static_cast<size_t>(r * linear->out_features() + column + o)],
                    y[static_cast<size_t>(r * static_cast<int>(part.rows) + o)]);
        }
      }
      column += static_cast<int>(part.rows);
    }
  }
}

}  // namespace
}  // namespace serval
