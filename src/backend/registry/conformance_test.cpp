// The conformance suite: every verb of every other backend and kernel set against the reference
// backend, over all storage types, odd shapes and ragged batches.
//
// The allowed distance follows from what a backend may do (docs/architecture.md, "Numerics"): 8-bit
// activations per 32 values round by half a step of amax / 127, which for normal values is a
// relative error of about 0.5 %; float weights and everything else are only rounded to float32.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "backend/cpu/test_support.h"
#include "backend/reference/reference_backend.h"

namespace serval {
namespace {

constexpr double kQuantized = 0.02;  // relative error of a product with 8-bit activations
constexpr double kRounded = 4e-3;    // with activations rounded to bfloat16: two units of 2^-9
constexpr double kFloat = 2e-5;      // of float32 arithmetic
constexpr double kFunction = 1e-3;   // of approximated exp and tanh, after 16-bit storage

bool is_float(DType type) { return info(type).block_elements == 1; }

// Root mean square of the difference, relative to that of the reference.
double distance(const std::vector<float>& reference, const std::vector<float>& other) {
  double error = 0.0, size = 0.0;
  for (size_t i = 0; i < reference.size(); ++i) {
    error += std::pow(static_cast<double>(reference[i]) - static_cast<double>(other[i]), 2);
    size += std::pow(static_cast<double>(reference[i]), 2);
  }
  return std::sqrt(error / std::max(size, 1e-30));
}

// A ragged batch: each span has `past` tokens in the cache and brings `rows` more. Its blocks are
// taken from the end of the pool, interleaved between sequences.
struct Ragged {
  struct Sequence {
    int past, rows;
  };
  explicit Ragged(const std::vector<Sequence>& sequences) {
    int count = 0;
    for (const Sequence& s : sequences) {
      spans.push_back({count, s.rows, s.past, static_cast<int>(blocks.size())});
      for (int i = 0; i < s.rows; ++i) {
        tokens.push_back((count * 7 + 3) % 32);
        positions.push_back(s.past + i);
        if (count % 3 != 1) logit_rows.push_back(count);
        ++count;
      }
      const int index = static_cast<int>(spans.size()) - 1;
      for (int b = 0; b * kBlockTokens < s.past + s.rows; ++b) {
        blocks.push_back(kPool - 1 - index - b * static_cast<int>(sequences.size()));
      }
    }
  }
  static constexpr int kPool = 128;
  int rows() const { return static_cast<int>(tokens.size()); }
  ForwardBatch batch() const { return {tokens, positions, spans, blocks, logit_rows}; }
  std::vector<int32_t> tokens, positions, logit_rows, blocks;
  std::vector<RowSpan> spans;
};

struct Collect final : LogitSink {
  void logits(int first, Tensor slice) override {
    EXPECT_LE(slice.rows, kMaxLogitSlice);
    EXPECT_EQ(static_cast<size_t>(first) * static_cast<size_t>(slice.cols), all.size());
    for (int r = 0; r < slice.rows; ++r) {
      all.insert(all.end(), slice.row(r), slice.row(r) + slice.cols);
    }
  }
  void hidden(int first, Tensor slice) override {
    EXPECT_LE(slice.rows, kMaxLogitSlice);
    EXPECT_EQ(static_cast<size_t>(first) * static_cast<size_t>(slice.cols), states.size());
    for (int r = 0; r < slice.rows; ++r) {
      states.insert(states.end(), slice.row(r), slice.row(r) + slice.cols);
    }
  }
  std::vector<float> all, states;
};

// Runs the same scene on the reference backend and on the one under test.
template <typename Scene>
double compare(const std::string& isa, const Scene& scene) {
  const auto reference = create_reference_backend({2, ""});
  const auto tested = create_cpu_backend({2, isa});
  const std::vector<float> wanted = scene(*reference);
  const std::vector<float> found = scene(*tested);
  EXPECT_EQ(wanted.size(), found.size());
  for (const float value : found) {
    if (!std::isfinite(value)) return 1e30;
  }
  return wanted.size() == found.size() ? distance(wanted, found) : 1e30;
}

// A tensor in the backend's own memory.
struct Activations {
  Activations(Backend& backend, int rows, int cols)
      : buffer(backend.allocate(static_cast<size_t>(rows) * static_cast<size_t>(cols) * 4)),
        tensor{static_cast<float*>(buffer->data()), rows, cols, cols} {}
  Activations(Backend& backend, int rows, int cols, uint32_t seed)
      : Activations(backend, rows, cols) {
    const auto values = random_floats(static_cast<size_t>(rows) * static_cast<size_t>(cols), seed);
    std::copy(values.begin(), values.end(), tensor.data);
  }
  std::vector<float> values() const {
    return {tensor.data, tensor.data + static_cast<size_t>(tensor.rows) * tensor.cols};
  }
  BufferPtr buffer;
  Tensor tensor;
};

struct NormWeights {
  NormWeights(Backend& backend, int size, uint32_t seed) {
    auto values = random_floats(static_cast<size_t>(size), seed, 0.2F);
    for (float& value : values) value += 1.0F;
    buffer = backend.upload(values);
    norm = {NormKind::kRms, 1e-6F, buffer.get(), nullptr};
  }
  BufferPtr buffer;
  Norm norm;
};

struct Case {
  std::string isa;
  DType type;
};

void PrintTo(const Case& test_case, std::ostream* out) {
  *out << test_case.isa << " " << info(test_case.type).name;
}

std::vector<Case> cases() {
  std::vector<Case> out;
  for (const std::string& isa : usable_isas()) {
    for (const DTypeInfo& each : dtypes()) out.push_back({isa, each.type});
  }
  return out;
}

class Formats : public testing::TestWithParam<Case> {
 protected:
  const std::string& isa() const { return GetParam().isa; }
  DType type() const { return GetParam().type; }
  bool rounds() const { return type() == DType::kBF16 && isa() == "avx512bf16"; }
  // `exact`: of float32 arithmetic and what follows it.
  double limit(double exact = kFloat, double quantized = kQuantized) const {
    return rounds() ? kRounded : is_float(type()) ? exact : quantized;
  }
  // Widths that the type's blocks divide; rows above are as odd as they come.
  std::vector<int> widths() const {
    if (info(type()).block_elements == 256) return {256, 768};
    return {32, 96, 576};
  }
};
INSTANTIATE_TEST_SUITE_P(All, Formats, testing::ValuesIn(cases()), [](const auto& p) {
  return p.param.isa + "_" + std::string(serval::info(p.param.type).name);
});

TEST_P(Formats, Embed) {
  for (const int width : widths()) {
    const double error = compare(isa(), [&](Backend& backend) {
      MemoryTensors tensors;
      const auto table =
          backend.pack_embedding(tensors.add("t", type(), 37, width, 1), true, tensors);
      EXPECT_EQ(table->vocab(), 37);
      EXPECT_EQ(table->features(), width);
      backend.reserve({});
      const Ragged ragged({{0, 5}, {40, 1}});
      Activations x(backend, ragged.rows(), width);
      backend.begin_step(ragged.batch());
      backend.embed(*table, 3.5F, x.tensor);
      backend.end_step();
      return x.values();
    });
    EXPECT_LT(error, 1e-6) << width;
  }
}

TEST_P(Formats, ProjectAdd) {
  for (const int width : widths()) {
    // One value alone may cancel out to almost nothing, which its error does not: several are
    // judged.
    for (const auto& [rows, outputs] : {std::pair{6, 1}, {1, 16}, {3, 17}, {9, 40}, {33, 100}}) {
      const double error = compare(isa(), [&, rows = rows, outputs = outputs](Backend& backend) {
        MemoryTensors tensors;
        const TensorRef bias = tensors.add_floats("b", random_floats(outputs, 5));
        const auto linear =
            backend.pack({"l", {tensors.add("w", type(), outputs, width, 2)}, {bias}}, tensors);
        const NormWeights post(backend, outputs, 4);
        backend.reserve({});
        const Ragged ragged({{0, rows}});
        const Activations h(backend, rows, width, 6);
        Activations x(backend, rows, outputs, 7);
        backend.begin_step(ragged.batch());
        backend.project_add(h.tensor, *linear, nullptr, x.tensor);
        backend.project_add(h.tensor, *linear, rows % 2 ? &post.norm : nullptr, x.tensor);
        backend.end_step();
        return x.values();
      });
      EXPECT_LT(error, limit()) << rows << " rows, " << outputs << " x " << width;
    }
  }
}

TEST_P(Formats, FfnIn) {
  for (const Activation activation : {Activation::kSiluGated, Activation::kGeluTanhGated,
                                      Activation::kSilu, Activation::kGeluTanh}) {
    const int width = widths()[1];
    constexpr int kOutputs = 71;
    const double error = compare(isa(), [&](Backend& backend) {
      MemoryTensors tensors;
      LinearSpec spec{"l", {tensors.add("gate", type(), kOutputs, width, 2)}, {}};
      if (is_gated(activation)) spec.parts.push_back(tensors.add("up", type(), kOutputs, width, 3));
      const auto linear = backend.pack(spec, tensors);
      const NormWeights norm(backend, width, 4);
      backend.reserve({});
      const Ragged ragged({{0, 5}});
      const Activations x(backend, 5, width, 6);
      Activations h(backend, 5, kOutputs);
      backend.begin_step(ragged.batch());
      backend.ffn_in(x.tensor, norm.norm, *linear, activation, h.tensor);
      backend.end_step();
      return h.values();
    });
    // Activations multiply two noisy products.
    EXPECT_LT(error, limit(kFunction, 2 * kQuantized)) << static_cast<int>(activation);
  }
}

TEST_P(Formats, Head) {
  for (const bool capped : {false, true}) {
    const int width = widths()[0];
    const double error = compare(isa(), [&](Backend& backend) {
      MemoryTensors tensors;
      const auto table =
          backend.pack_embedding(tensors.add("t", type(), 303, width, 1), true, tensors);
      const NormWeights norm(backend, width, 4);
      backend.reserve({});
      const Ragged ragged({{0, 70}, {3, 1}, {31, 40}});  // more than one slice of logits
      const Activations x(backend, ragged.rows(), width, 6);
      Collect sink;
      backend.begin_step(ragged.batch());
      backend.head(x.tensor, norm.norm, table->linear(), {0.5F, capped ? 2.0F : 0.0F}, sink);
      backend.end_step();
      return sink.all;
    });
    // Where the cap flattens large logits, what is left of them is smaller than their errors were.
    const double capped_limit = limit(kFunction, 3 * kQuantized);
    EXPECT_LT(error, capped ? capped_limit : limit()) << capped;
  }
}

TEST(Hidden, TheHeadHandsOutTheRowsItNormed) {
  for (const std::string& usable : usable_isas()) {
    for (const int width : {32, 96, 576}) {
      const double error = compare(usable, [&](Backend& backend) {
        MemoryTensors tensors;
        const auto table =
            backend.pack_embedding(tensors.add("t", DType::kQ8_0, 40, width, 1), true, tensors);
        const NormWeights norm(backend, width, 4);
        backend.reserve({});
        const Ragged ragged({{0, 150}, {3, 1}, {31, 40}});
        const Activations x(backend, ragged.rows(), width, 6);
        Collect sink;
        ForwardBatch batch = ragged.batch();
        batch.hidden_rows = batch.logit_rows;  // more than one slice
        batch.logit_rows = batch.logit_rows.subspan(5, 2);
        backend.begin_step(batch);
        backend.head(x.tensor, norm.norm, table->linear(), {}, sink);
        backend.end_step();
        EXPECT_EQ(sink.all.size(), 2U * 40);
        EXPECT_EQ(sink.states.size(), batch.hidden_rows.size() * static_cast<size_t>(width));
        return sink.states;
      });
      EXPECT_LT(error, kFunction) << usable << ", " << width;
    }
  }
}

struct AttentionShape {
  int heads, kv_heads, head_dim, rope_dims;
  RopeStyle style;
  KvType kv;
  int window;
  float softcap;
  bool qk_norm;
};

const AttentionShape kShapes[] = {
    {1, 1, 32, 32, RopeStyle::kAdjacent, KvType::kF32, 0, 0.0F, false},
    {9, 3, 64, 64, RopeStyle::kAdjacent, KvType::kF32, 0, 0.0F, false},
    {4, 1, 256, 256, RopeStyle::kHalves, KvType::kF32, 16, 0.0F, true},
    {7, 1, 48, 32, RopeStyle::kHalves, KvType::kF32, 0, 5.0F, true},
    {6, 2, 80, 80, RopeStyle::kAdjacent, KvType::kF16, 33, 0.0F, false},
    {14, 2, 64, 64, RopeStyle::kHalves, KvType::kF16, 0, 0.0F, false},
    {4, 4, 96, 96, RopeStyle::kHalves, KvType::kQ8_0, 0, 0.0F, false},
    {8, 2, 128, 128, RopeStyle::kHalves, KvType::kQ8_0, 100, 0.0F, true},
};

// Three sequences prefill, then all of them continue in ragged steps; the last step's values.
std::vector<float> attend(Backend& backend, const AttentionShape& shape) {
  constexpr int kWidth = 64;
  const int query = shape.heads * shape.head_dim;
  MemoryTensors tensors;
  const int64_t kv_rows = int64_t{shape.kv_heads} * shape.head_dim;
  const auto floats = [&](const char* name, int64_t rows, uint32_t seed) {
    TensorRef ref =
        tensors.add_floats(name, random_floats(static_cast<size_t>(rows * kWidth), seed, 0.2F));
    ref.rows = rows;
    ref.cols = kWidth;
    return ref;
  };
  const auto qkv = backend.pack(
      {"qkv", {floats("q", query, 1), floats("k", kv_rows, 2), floats("v", kv_rows, 3)}, {}},
      tensors);
  RopeSpec rope_spec{shape.style, shape.rope_dims, {}, 1.1F};
  for (int i = 0; i < shape.rope_dims / 2; ++i) {
    rope_spec.inverse_frequency.push_back(std::pow(10000.0, -2.0 * i / shape.rope_dims));
  }
  const auto rope = backend.make_rope(rope_spec);
  const NormWeights norm(backend, kWidth, 4);
  const NormWeights q_norm(backend, shape.head_dim, 5), k_norm(backend, shape.head_dim, 6);
  const QkNorm qk_norm{q_norm.norm, k_norm.norm};
  KvLayer kv = backend.make_kv_layer(shape.kv, shape.kv_heads, shape.head_dim, Ragged::kPool);
  backend.reserve({.rows = 700, .spans = 4, .logit_rows = 64, .context = 1024});
  const AttentionParams params{shape.heads, 1.0F / std::sqrt(static_cast<float>(shape.head_dim)),
                               shape.window, shape.softcap};
  std::vector<float> out;
  const std::vector<std::vector<Ragged::Sequence>> steps = {
      {{0, 600}, {0, 31}, {0, 1}}, {{600, 1}, {31, 2}, {1, 40}}, {{601, 1}, {33, 1}, {41, 1}}};
  for (const auto& sequences : steps) {
    const Ragged ragged(sequences);
    const Activations x(backend, ragged.rows(), kWidth, 7 + static_cast<uint32_t>(ragged.rows()));
    Activations q(backend, ragged.rows(), query), o(backend, ragged.rows(), query);
    backend.begin_step(ragged.batch());
    backend.attention_in(x.tensor, norm.norm, *qkv, shape.qk_norm ? &qk_norm : nullptr, *rope, kv,
                         q.tensor);
    backend.attention(q.tensor, kv, params, o.tensor);
    backend.end_step();
    for (const Activations* each : {&q, &o}) {
      const auto values = each->values();
      out.insert(out.end(), values.begin(), values.end());
    }
  }
  return out;
}

class KernelSets : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(All, KernelSets, testing::ValuesIn(usable_isas()),
                         [](const auto& p) { return p.param; });

TEST_P(KernelSets, Attention) {
  for (const AttentionShape& shape : kShapes) {
    const double error =
        compare(GetParam(), [&](Backend& backend) { return attend(backend, shape); });
    // A value that float32 rounds differently may fall into the next 8-bit or 16-bit step.
    EXPECT_LT(error, shape.kv == KvType::kF32 ? kFunction / 10 : kFunction * 3)
        << shape.heads << "/" << shape.kv_heads << " heads of " << shape.head_dim << ", kv "
        << static_cast<int>(shape.kv);
  }
}

// Few rows take gate and up in stretches; a worker's share here is several of them, the last short.
TEST_P(KernelSets, GateAndUpInStretches) {
  constexpr int kRows = 24, kOutputs = 5595, kWidth = 64;
  const double error = compare(GetParam(), [&](Backend& backend) {
    MemoryTensors tensors;
    const auto linear = backend.pack({"l",
                                      {tensors.add("gate", DType::kQ8_0, kOutputs, kWidth, 2),
                                       tensors.add("up", DType::kQ8_0, kOutputs, kWidth, 3)},
                                      {}},
                                     tensors);
    const NormWeights norm(backend, kWidth, 4);
    backend.reserve({});
    const Ragged ragged({{0, kRows}});
    const Activations x(backend, kRows, kWidth, 6);
    Activations h(backend, kRows, kOutputs);
    backend.begin_step(ragged.batch());
    backend.ffn_in(x.tensor, norm.norm, *linear, Activation::kSiluGated, h.tensor);
    backend.end_step();
    return h.values();
  });
  EXPECT_LT(error, kFunction + 2 * kQuantized);
}

TEST_P(KernelSets, PartsOfUnlikeFormatsAndBiases) {
  const double error = compare(GetParam(), [&](Backend& backend) {
    MemoryTensors tensors;
    const LinearSpec spec{
        "mixed",
        {tensors.add("a", DType::kQ5_0, 33, 256, 1), tensors.add("b", DType::kQ4_K, 16, 256, 2),
         tensors.add("c", DType::kF16, 7, 256, 3)},
        {tensors.add_floats("ab", random_floats(33, 4)), std::nullopt,
         tensors.add_floats("cb", random_floats(7, 5))}};
    const auto linear = backend.pack(spec, tensors);
    EXPECT_EQ(linear->out_features(), 56);
    backend.reserve({});
    const Ragged ragged({{0, 4}});
    const Activations h(backend, 4, 256, 6);
    Activations x(backend, 4, 56);
    backend.begin_step(ragged.batch());
    backend.project_add(h.tensor, *linear, nullptr, x.tensor);
    backend.end_step();
    return x.values();
  });
  EXPECT_LT(error, kQuantized);
}

// ---- NaN and infinity must reach the logits, where the engine looks for them, and no other row

const float kPoisons[] = {std::nanf(""), -std::numeric_limits<float>::infinity(),
                          std::numeric_limits<float>::infinity()};

// `out` has the same rows as `clean`, but of `row`, where nothing is finite.
void expect_only_row(const Activations& clean, const Activations& out, int row) {
  for (int r = 0; r < out.tensor.rows; ++r) {
    const float* found = out.tensor.row(r);
    if (r != row) {
      const auto bytes = static_cast<size_t>(out.tensor.cols) * sizeof(float);
      EXPECT_EQ(std::memcmp(found, clean.tensor.row(r), bytes), 0) << "row " << r;
      continue;
    }
    for (int i = 0; i < out.tensor.cols; ++i) EXPECT_FALSE(std::isfinite(found[i])) << i;
  }
}

TEST_P(Formats, NotFinite) {
  constexpr int kRows = 11, kOutputs = 37, kBad = 9;
  const int width = widths()[1];
  const auto backend = create_cpu_backend({2, isa()});
  MemoryTensors tensors;
  const auto linear =
      backend->pack({"l", {tensors.add("w", type(), kOutputs, width, 2)}, {}}, tensors);
  const NormWeights norm(*backend, width, 4);
  backend->reserve({});
  const Ragged ragged({{0, kRows}});
  backend->begin_step(ragged.batch());
  const Activations input(*backend, kRows, width, 6);
  const auto project = [&](const Activations& from) {
    Activations out(*backend, kRows, kOutputs);
    backend->project_add(from.tensor, *linear, nullptr, out.tensor);
    return out;
  };
  const auto activate = [&](const Activations& from, Activation activation) {
    Activations out(*backend, kRows, kOutputs);
    backend->ffn_in(from.tensor, norm.norm, *linear, activation, out.tensor);
    return out;
  };
  int place = 0;
  for (const float poison : kPoisons) {
    for (const int step : {1, 14, 15, 31}) {
      place = (place + step) % width;
      Activations bad(*backend, kRows, width, 6);
      bad.tensor.row(kBad)[place] = poison;
      expect_only_row(project(input), project(bad), kBad);
      for (const Activation each : {Activation::kSilu, Activation::kGeluTanh}) {
        expect_only_row(activate(input, each), activate(bad, each), kBad);
      }
    }
  }
  backend->end_step();
}

TEST_P(KernelSets, NotFiniteHead) {
  const auto backend = create_cpu_backend({2, GetParam()});
  MemoryTensors tensors;
  const auto table =
      backend->pack_embedding(tensors.add("t", DType::kQ4_K, 303, 256, 1), true, tensors);
  const NormWeights norm(*backend, 256, 4);
  backend->reserve({});
  OneSpan span(3);
  for (const float poison : kPoisons) {
    Activations x(*backend, 3, 256, 6);
    x.tensor.row(1)[77] = poison;
    Collect sink;
    backend->begin_step(span.batch());
    backend->head(x.tensor, norm.norm, table->linear(), {1.0F, 30.0F}, sink);
    backend->end_step();
    for (size_t i = 0; i < sink.all.size(); ++i) {
      EXPECT_EQ(std::isfinite(sink.all[i]), i / 303 != 1) << i;
    }
  }
}

// Two sequences decode beside each other; the first has a bad row among those before.
struct Attended {
  Attended(Backend& backend, const AttentionShape& shape, float poison, bool in_query_only) {
    constexpr int kWidth = 64;
    const int query = shape.heads * shape.head_dim;
    MemoryTensors tensors;
    const int kv_rows = shape.kv_heads * shape.head_dim;
    const auto qkv = backend.pack({"qkv",
                                   {tensors.add("q", DType::kF32, query, kWidth, 1),
                                    tensors.add("k", DType::kF32, kv_rows, kWidth, 2),
                                    tensors.add("v", DType::kF32, kv_rows, kWidth, 3)},
                                   {}},
                                  tensors);
    RopeSpec rope_spec{shape.style, shape.rope_dims, {}, 1.0F};
    rope_spec.inverse_frequency.assign(static_cast<size_t>(shape.rope_dims / 2), 0.01);
    const auto rope = backend.make_rope(rope_spec);
    const NormWeights norm(backend, kWidth, 4);
    KvLayer kv = backend.make_kv_layer(shape.kv, shape.kv_heads, shape.head_dim, Ragged::kPool);
    backend.reserve({.rows = 80, .spans = 2, .logit_rows = 2, .context = 1024});
    const std::vector<std::vector<Ragged::Sequence>> steps = {{{0, 40}, {0, 33}},
                                                              {{40, 1}, {33, 1}}};
    for (const auto& sequences : steps) {
      const Ragged ragged(sequences);
      Activations x(backend, ragged.rows(), kWidth, static_cast<uint32_t>(ragged.rows()));
      if (ragged.rows() > 2 && !in_query_only) x.tensor.row(17)[5] = poison;
      Activations q(backend, ragged.rows(), query), o(backend, ragged.rows(), query);
      backend.begin_step(ragged.batch());
      backend.attention_in(x.tensor, norm.norm, *qkv, nullptr, *rope, kv, q.tensor);
      if (ragged.rows() == 2 && in_query_only) {
        for (int h = 0; h < shape.heads; ++h) q.tensor.row(0)[h * shape.head_dim] = poison;
      }
      backend.attention(q.tensor, kv, {shape.heads, 0.1F, 0, shape.softcap}, o.tensor);
      backend.end_step();
      out = o.values();
    }
  }
  std::vector<float> out;  // of the last step
};

TEST_P(KernelSets, NotFiniteAttention) {
  for (const AttentionShape& shape : kShapes) {
    if (shape.window > 0) continue;  // the bad row may be out of sight
    const auto backend = [&] { return create_cpu_backend({2, GetParam()}); };
    const std::vector<float> clean = Attended(*backend(), shape, 0.5F, true).out;
    for (const bool in_query : {true, false}) {
      for (const float poison : kPoisons) {
        if (in_query && !std::isnan(poison) && shape.softcap > 0.0F) continue;  // tanh(inf) is 1
        const std::vector<float> found = Attended(*backend(), shape, poison, in_query).out;
        const size_t half = found.size() / 2;
        for (size_t i = 0; i < half; ++i) {
          ASSERT_FALSE(std::isfinite(found[i])) << i << ", kv " << static_cast<int>(shape.kv);
        }
        EXPECT_TRUE(std::equal(found.begin() + static_cast<ptrdiff_t>(half), found.end(),
                               clean.begin() + static_cast<ptrdiff_t>(half)));
      }
    }
  }
}

}  // namespace
}  // namespace serval
