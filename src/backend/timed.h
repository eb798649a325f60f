// The timed backend: passes every verb on to another backend and adds up where the time goes, by
// operator and layer. Two clock readings for each verb, some 50 ns, so it is always on.
//
// Threads: like any backend; work() may be called from any thread at any time.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <vector>

#include "backend/backend.h"
#include "serval/watch.h"

namespace serval {

class TimedBackend final : public Backend {
 public:
  explicit TimedBackend(std::unique_ptr<Backend> inner);

  // Since construction: operators without a layer first, then layer by layer. Figures of one row
  // may be of different moments while a step runs.
  std::vector<OperatorWork> work() const;

  const BackendInfo& info() const override { return inner_->info(); }
  LinearPtr pack(const LinearSpec& spec, TensorSource& source) override;
  EmbeddingPtr pack_embedding(const TensorRef& ref, bool tied, TensorSource& source) override;
  BufferPtr upload(std::span<const float> values) override { return inner_->upload(values); }
  BufferPtr allocate(size_t bytes) override { return inner_->allocate(bytes); }
  RopePtr make_rope(const RopeSpec& spec) override { return inner_->make_rope(spec); }
  KvLayer make_kv_layer(KvType type, int kv_heads, int head_dim, int blocks) override;
  void reserve(const StepLimits& limits) override { inner_->reserve(limits); }

  void begin_step(const ForwardBatch& batch) override;
  void embed(const Embedding& table, float scale, Tensor x) override;
  void attention_in(Tensor x, const Norm& norm, const Linear& qkv, const QkNorm* qk_norm,
                    const Rope& rope, KvLayer& kv, Tensor q) override;
  void attention(Tensor q, const KvLayer& kv, const AttentionParams& params, Tensor o) override;
  void project_add(Tensor h, const Linear& linear, const Norm* post, Tensor x) override;
  void ffn_in(Tensor x, const Norm& norm, const Linear& linear, Activation activation,
              Tensor h) override;
  void head(Tensor x, const Norm& norm, const Linear& output, const HeadParams& params,
            LogitSink& sink) override;
  void end_step() override;

 private:
  struct Cell {
    std::atomic<uint64_t> calls{0}, nanoseconds{0}, bytes{0}, macs{0};
  };
  using Layer = std::array<Cell, kOperators>;

  Cell& cell(Operator op) { return layers_[static_cast<size_t>(layer_)][static_cast<size_t>(op)]; }
  // Runs `verb` and puts its time, and what it had to do, on the operator's account.
  template <typename Verb>
  void timed(Operator op, uint64_t bytes, uint64_t macs, const Verb& verb);

  std::unique_ptr<Backend> inner_;
  std::unique_ptr<Layer[]> layers_;  // [kMaxLayers + 1]; 0: what belongs to no layer
  ForwardBatch batch_;
  int layer_ = 0;
  Operator projection_ = Operator::kAttentionOut;  // what project_add is now
};

}  // namespace serval
