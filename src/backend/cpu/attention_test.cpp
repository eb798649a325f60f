// Attention: against a float64 softmax over the values read back in storage type, and bitwise the
// same whatever the chunking, the batch and the number of threads.
#include <gtest/gtest.h>

#include <cmath>

#include "backend/cpu/test_support.h"
#include "backend/reference/reference_backend.h"

namespace serval {
namespace {

// Builds K, V and Q of one sequence out of an identity projection, so that tests choose them
// freely: attention_in multiplies with a float identity matrix and norms are undone by their
// weight.
struct Shape {
  int kv_heads, group, head_dim;
  KvType type = KvType::kF16;
  int window = 0;
  float softcap = 0.0F;
};

class Sequence {
 public:
  Sequence(Backend& backend, const Shape& shape, int context)
      : backend_(backend),
        shape_(shape),
        width_(shape.kv_heads * (shape.group + 2) * shape.head_dim) {
    std::vector<float> identity(static_cast<size_t>(width_) * static_cast<size_t>(width_));
    for (int i = 0; i < width_; ++i)
      identity[static_cast<size_t>(i) * static_cast<size_t>(width_ + 1)] = 1;
    MemoryTensors tensors;
    tensors.add_floats("identity", identity);
    qkv_ = backend.pack({"qkv", {{"identity", DType::kF32, width_, width_}}, {}}, tensors);
    weight_ = backend.upload(std::vector<float>(static_cast<size_t>(width_), 1.0F));
    norm_.weight = weight_.get();
    RopeSpec rope;
    rope.dims = 0;
    rope_ = backend.make_rope(rope);
    kv_ = backend.make_kv_layer(shape.type, shape.kv_heads, shape.head_dim,
                                context / kBlockTokens + 3);
    backend.reserve({512, 8, 8, context});
  }

  int q_width() const { return shape_.kv_heads * shape_.group * shape_.head_dim; }
  int width() const { return width_; }

  // Rows [past, past + rows) of `x`; returns o.
  std::vector<float> run(const std::vector<float>& x, int past, int rows) {
    OneSpan span(rows, past, 2);
    std::vector<float> in(x.begin() + static_cast<ptrdiff_t>(past) * width_,
                          x.begin() + static_cast<ptrdiff_t>(past + rows) * width_);
    std::vector<float> q(static_cast<size_t>(rows * q_width()));
    std::vector<float> o(q.size());
    AttentionParams params;
    params.heads = shape_.kv_heads * shape_.group;
    params.scale = 1.0F / std::sqrt(static_cast<float>(shape_.head_dim));
    params.window = shape_.window;
    params.softcap = shape_.softcap;
    backend_.begin_step(span.batch());
    backend_.attention_in(view(in, rows), norm_, *qkv_, nullptr, *rope_, kv_, view(q, rows));
    backend_.attention(view(q, rows), kv_, params, view(o, rows));
    backend_.end_step();
    return o;
  }

 private:
  Backend& backend_;
  Shape shape_;
  int width_;
  LinearPtr qkv_;
  BufferPtr weight_;
  Norm norm_;
  RopePtr rope_;
  KvLayer kv_;
};

// As the RMS norm with unit weights leaves it.
std::vector<float> normalized(const std::vector<float>& x, int width) {
  std::vector<float> out(x);
  for (size_t row = 0; row < x.size(); row += static_cast<size_t>(width)) {
    double squares = 0;
    for (int i = 0; i < width; ++i)
      squares += std::pow(static_cast<double>(x[row + static_cast<size_t>(i)]), 2);
    const double inverse = 1.0 / std::sqrt(squares / width + 1e-5);
    for (int i = 0; i < width; ++i) {
      out[row + static_cast<size_t>(i)] =
          static_cast<float>(static_cast<double>(x[row + static_cast<size_t>(i)]) * inverse);
    }
  }
  return out;
}

// A value as the cache returns it; q8 groups are 32 values of one head.
void through_storage(KvType type, float* values, int count) {
  if (type == KvType::kF32) return;
  if (type == KvType::kF16) {
    for (int i = 0; i < count; ++i) values[i] = f16_to_f32(f32_to_f16(values[i]));
    return;
  }
  for (int g = 0; g < count; g += 32) {
    float amax = 0;
    for (int i = g; i < g + 32; ++i) amax = std::max(amax, std::fabs(values[i]));
    const float scale = f16_to_f32(f32_to_f16(amax / 127.0F));
    for (int i = g; i < g + 32; ++i) {
      const float q = std::nearbyintf(std::min(127.0F, std::max(-127.0F, values[i] / scale)));
      values[i] = q * scale;
    }
  }
}

std::vector<double> oracle(const Shape& shape, const std::vector<float>& x, int row) {
  const int dim = shape.head_dim;
  const int width = shape.kv_heads * (shape.group + 2) * dim;
  const int heads = shape.kv_heads * shape.group;
  std::vector<double> out;
  for (int h = 0; h < heads; ++h) {
    const float* q = x.data() + static_cast<ptrdiff_t>(row) * width + h * dim;
    std::vector<double> weights, sum(static_cast<size_t>(dim));
    double largest = -INFINITY;
    const int first = shape.window > 0 ? std::max(0, row - shape.window + 1) : 0;
    std::vector<std::vector<float>> values;
    for (int t = first; t <= row; ++t) {
      const float* base =
          x.data() + static_cast<ptrdiff_t>(t) * width + heads * dim + h / shape.group * dim;
      std::vector<float> k(base, base + dim);
      std::vector<float> v(base + shape.kv_heads * dim, base + shape.kv_heads * dim + dim);
      through_storage(shape.type, k.data(), dim);
      through_storage(shape.type, v.data(), dim);
      double score = 0;
      for (int d = 0; d < dim; ++d)
        score += static_cast<double>(q[d]) * static_cast<double>(k[static_cast<size_t>(d)]);
      score /= std::sqrt(static_cast<double>(dim));
      if (shape.softcap > 0) {
        const double cap = static_cast<double>(shape.softcap);
        score = cap * std::tanh(score / cap);
      }
      largest = std::max(largest, score);
      weights.push_back(score);
      values.push_back(std::move(v));
    }
    double total = 0;
    for (double& w : weights) total += w = std::exp(w - largest);
    for (size_t t = 0; t < weights.size(); ++t) {
      for (int d = 0; d < dim; ++d) {
        sum[static_cast<size_t>(d)] +=
            weights[t] / total * static_cast<double>(values[t][static_cast<size_t>(d)]);
      }
    }
    out.insert(out.end(), sum.begin(), sum.end());
  }
  return out;
}

struct Case {
  std::string isa;
  std::string name;
  Shape shape;
};

std::vector<Case> all_cases() {
  // Up to 16 query heads of a KV head are computed straight from the cache, if whole vectors make
  // up a head; rows of a chunk together with more from expanded tiles.
  const std::vector<std::pair<std::string, Shape>> shapes = {
      {"gqa3", {3, 3, 64}},
      {"gqa1", {2, 1, 80}},
      {"gqa4", {1, 4, 128}},
      {"gqa7", {2, 7, 64}},
      {"mqa12", {1, 12, 32}},
      {"gemma", {1, 4, 256, KvType::kF16, 100}},
      {"window_segment", {1, 2, 64, KvType::kF16, 600}},
      {"softcap", {1, 2, 64, KvType::kF16, 0, 5.0F}},
      {"f32", {1, 3, 64, KvType::kF32}},
      {"q8", {2, 3, 64, KvType::kQ8_0}},
      {"q8_window", {1, 2, 128, KvType::kQ8_0, 33}},
      {"odd_dim", {1, 2, 24, KvType::kF32}},
      {"dim40", {1, 3, 40}},
      {"dim96_q8", {1, 5, 96, KvType::kQ8_0}},
      {"dim192", {1, 2, 192}},
      {"dim256_q8", {1, 4, 256, KvType::kQ8_0}},
      {"dim80_window", {1, 6, 80, KvType::kF16, 90}},
      {"gqa8_f32", {1, 8, 32, KvType::kF32}},
      {"mqa16", {1, 16, 32}},
      {"mqa40_softcap_window", {1, 40, 16, KvType::kF16, 77, 5.0F}},
  };
  std::vector<Case> cases;
  for (const std::string& isa : usable_isas()) {
    for (const auto& [name, shape] : shapes) cases.push_back({isa, name, shape});
  }
  return cases;
}

class AttentionTest : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(All, AttentionTest, testing::ValuesIn(all_cases()),
                         [](const testing::TestParamInfo<Case>& p) {
                           return p.param.isa + "_" + p.param.name;
                         });

constexpr int kContext = 1300;  // three segments

std::vector<float> inputs(int width) {
  return random_floats(static_cast<size_t>(kContext) * static_cast<size_t>(width), 5, 2.0F);
}

TEST_P(AttentionTest, MatchesFloat64Softmax) {
  const auto backend = create_cpu_backend({2, GetParam().isa});
  Sequence sequence(*backend, GetParam().shape, kContext);
  const auto x = inputs(sequence.width());
  const auto operands = normalized(x, sequence.width());
  // A q8 step that falls the other way on a rounding tie moves a value by a whole step.
  const double tolerance = GetParam().shape.type == KvType::kF32 ? 2e-5 : 1.5e-3;
  for (int past = 0; past < kContext;) {
    const int rows = std::min(past == 0 ? 260 : 500, kContext - past);
    const auto o = sequence.run(x, past, rows);
    for (int r = 0; r < rows; r += 37) {
      const auto want = oracle(GetParam().shape, operands, past + r);
      for (size_t i = 0; i < want.size(); ++i) {
        ASSERT_NEAR(o[static_cast<size_t>(r) * want.size() + i], want[i], tolerance)
            << "row " << past + r;
      }
    }
    past += rows;
  }
}

// The last rows, which begin in the first segment and end in the second, in chunks and on teams of
// several sizes: a row in a long chunk has later tokens in the cache, a row alone has none.
TEST_P(AttentionTest, DoesNotDependOnChunksOrThreads) {
  constexpr int kFirst = 490, kLast = 560;
  std::vector<std::vector<float>> results;
  std::vector<float> x;
  for (const auto& [threads, chunk] :
       {std::pair{1, kLast}, {2, 1}, {1, 7}, {2, 33}, {2, kLast - kFirst}}) {
    const auto backend = create_cpu_backend({threads, GetParam().isa});
    Sequence sequence(*backend, GetParam().shape, kContext);
    if (x.empty()) x = inputs(sequence.width());
    const auto all = sequence.run(x, 0, chunk == kLast ? kLast : kFirst);
    const ptrdiff_t width = sequence.q_width();
    std::vector<float> last;
    if (chunk == kLast) last.assign(all.begin() + kFirst * width, all.end());
    for (int past = kFirst; past < kLast && chunk != kLast; past += chunk) {
      const auto o = sequence.run(x, past, std::min(chunk, kLast - past));
      last.insert(last.end(), o.begin(), o.end());
    }
    results.push_back(std::move(last));
  }
  for (size_t i = 1; i < results.size(); ++i) {
    ASSERT_EQ(results[i].size(), results[0].size());
    EXPECT_EQ(std::memcmp(results[0].data(), results[i].data(), results[0].size() * sizeof(float)),
              0)
        << "variant " << i;
  }
}

}  // namespace
}  // namespace serval
