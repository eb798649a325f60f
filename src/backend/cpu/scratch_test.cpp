// The estimate of scratch memory, cpu_scratch_bytes(), against what steps of models of all mixes of
// formats make the backend hold.
#include <gtest/gtest.h>

#include <array>

#include "backend/cpu/backend_impl.h"
#include "backend/cpu/test_support.h"
#include "backend/recording.h"

namespace serval::cpu {
namespace {

constexpr int kHeads = 8, kKvHeads = 2, kHeadDim = 64;
constexpr int kWidth = kHeads * kHeadDim, kVocab = 64;
constexpr StepLimits kLimits = {.rows = 40, .spans = 4, .logit_rows = 8, .context = 2560};

struct Ignore final : LogitSink {
  void logits(int, Tensor) override {}
};

// Matrices in all formats, each made once.
class Matrices final : public TensorSource {
 public:
  TensorRef get(const std::string& what, DType type, int rows, int cols) {
    const std::string name = what + std::string(info(type).name);
    const auto found = refs_.find(name);
    return found != refs_.end() ? found->second
                                : refs_[name] = tensors_.add(name, type, rows, cols, 7);
  }
  void read(const TensorRef& ref, uint64_t offset, std::span<std::byte> out) override {
    tensors_.read(ref, offset, out);
  }

 private:
  MemoryTensors tensors_;
  std::map<std::string, TensorRef> refs_;
};

// A model of one layer whose matrices have these formats in turn.
class MixedModel {
 public:
  MixedModel(Backend& backend, Matrices& matrices, const std::vector<DType>& formats, bool tied)
      : backend_(backend), matrices_(matrices), formats_(formats) {
    qkv_ = pack("qkv", {kWidth, kKvHeads * kHeadDim, kKvHeads * kHeadDim}, kWidth);
    out_ = pack("out", {kWidth}, kWidth);
    gate_up_ = pack("gate_up", {kWidth, kWidth}, kWidth);
    down_ = pack("down", {kWidth}, kWidth);
    if (!tied) head_ = pack("head", {kVocab}, kWidth);
    embedding_ =
        backend.pack_embedding(matrices.get("table", next(), kVocab, kWidth), tied, matrices);
    rope_ = backend.make_rope({RopeStyle::kHalves, kHeadDim, std::vector<double>(kHeadDim / 2)});
    kv_ = backend.make_kv_layer(KvType::kF16, kKvHeads, kHeadDim, kLimits.context / kBlockTokens);
    norm_weights_ = backend.upload(std::vector<float>(kWidth, 1.0F));
    norm_ = {NormKind::kRms, 1e-6F, norm_weights_.get(), nullptr};
  }

  void step(int rows, int past) {
    OneSpan span(rows, past);
    span.logit_rows.resize(1);
    std::array<BufferPtr, 4> memory;
    std::array<Tensor, 4> t;
    for (size_t i = 0; i < t.size(); ++i) {
      memory[i] = backend_.allocate(static_cast<size_t>(rows * kWidth) * sizeof(float));
      t[i] = {static_cast<float*>(memory[i]->data()), rows, kWidth, kWidth};
    }
    Ignore sink;
    backend_.begin_step(span.batch());
    backend_.embed(*embedding_, 1.0F, t[0]);
    backend_.attention_in(t[0], norm_, *qkv_, nullptr, *rope_, kv_, t[1]);
    backend_.attention(t[1], kv_, {.heads = kHeads}, t[2]);
    backend_.project_add(t[2], *out_, &norm_, t[0]);
    backend_.ffn_in(t[0], norm_, *gate_up_, Activation::kSiluGated, t[3]);
    backend_.project_add(t[3], *down_, nullptr, t[0]);
    backend_.head(t[0], norm_, head_ ? *head_ : embedding_->linear(), {}, sink);
    backend_.end_step();
  }

 private:
  DType next() { return formats_[turn_++ % formats_.size()]; }
  LinearPtr pack(const std::string& name, const std::vector<int>& rows, int cols) {
    LinearSpec spec{name, {}, {}};
    for (const int count : rows) {
      const std::string part = name + std::to_string(spec.parts.size());
      spec.parts.push_back(matrices_.get(part, next(), count, cols));
    }
    return backend_.pack(spec, matrices_);
  }

  Backend& backend_;
  Matrices& matrices_;
  std::vector<DType> formats_;
  size_t turn_ = 0;
  LinearPtr qkv_, out_, gate_up_, down_, head_;
  EmbeddingPtr embedding_;
  RopePtr rope_;
  KvLayer kv_;
  BufferPtr norm_weights_;
  Norm norm_;
};

// Of every kind that needs something else of activations.
std::vector<std::vector<DType>> mixes() {
  const std::vector<DType> kinds = {DType::kF32,  DType::kF16,  DType::kBF16, DType::kQ4_0,
                                    DType::kQ4_1, DType::kQ8_0, DType::kQ2_K, DType::kQ6_K};
  std::vector<std::vector<DType>> out;
  for (const DType a : kinds) {
    for (const DType b : kinds) {
      if (a <= b) out.push_back({a, b});
    }
  }
  out.push_back({DType::kF16, DType::kBF16, DType::kQ8_0});
  out.push_back({DType::kQ2_K, DType::kQ6_K, DType::kQ4_K});
  return out;
}

TEST(CpuScratch, IsEstimatedFromAboveForAllMixes) {
  Matrices matrices;
  for (const std::string& isa : usable_isas()) {
    for (const std::vector<DType>& formats : mixes()) {
      for (const bool tied : {false, true}) {
        RecordingBackend recording;
        MixedModel(recording, matrices, formats, tied).step(1, 0);
        CpuBackend backend({2, isa});
        MixedModel model(backend, matrices, formats, tied);
        model.step(kLimits.rows, 0);
        // Attention is split into segments.
        model.step(kLimits.rows, kLimits.context - kLimits.rows);
        const size_t estimate = cpu_scratch_bytes(recording.scratch_needs(), kLimits, 2);
        const std::string what = isa + " " + std::string(info(formats[0]).name) + " " +
                                 std::string(info(formats[1]).name) + (tied ? " tied" : "");
        EXPECT_GE(estimate, backend.scratch_bytes()) << what;
        EXPECT_LE(estimate, backend.scratch_bytes() * 5 / 4) << what;
      }
    }
  }
}

}  // namespace
}  // namespace serval::cpu
