// The recording backend: the same verbs as any other, but it computes nothing. It notes what a
// forward pass asks for, so plans, memory estimates and rooflines come from the model code itself
// and cannot disagree with it.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "backend/backend.h"

namespace serval {

// One call of a verb. Products count multiply-adds of one row with the weights; `kv_macs` those of
// attention at one past position.
struct RecordedVerb {
  std::string verb;   // "attention_in"
  std::string name;   // of the weights: "blk.0.attn_qkv", or "" where the verb has none
  std::string shape;  // "Q4_1 [960 x 576]", parts of unlike formats joined by "+"
  int rows = 0;       // activation rows of this call
  uint64_t weight_bytes = 0;
  uint64_t step_bytes = 0;  // of these, read by a step of one row
  uint64_t macs = 0;
  uint64_t kv_macs = 0;
  uint64_t kv_bytes = 0;  // attention_in: K and V written per row
};

class RecordingBackend final : public Backend {
 public:
  RecordingBackend() { info_.name = "recording"; }
  const BackendInfo& info() const override { return info_; }
  // Calls since construction, in order.
  const std::vector<RecordedVerb>& verbs() const { return verbs_; }
  uint64_t packed_bytes() const { return packed_bytes_; }  // all weights, tied ones once
  uint64_t vector_bytes() const { return vector_bytes_; }  // uploaded
  const ScratchNeeds& scratch_needs() const { return needs_; }

  LinearPtr pack(const LinearSpec& spec, TensorSource& source) override;
  EmbeddingPtr pack_embedding(const TensorRef& ref, bool tied, TensorSource& source) override;
  BufferPtr upload(std::span<const float> values) override;
  BufferPtr allocate(size_t bytes) override;  // real, zeroed, not resident until written
  RopePtr make_rope(const RopeSpec& spec) override;
  KvLayer make_kv_layer(KvType type, int kv_heads, int head_dim, int blocks) override;
  void reserve(const StepLimits&) override {}

  void begin_step(const ForwardBatch& batch) override { batch_ = batch; }
  void embed(const Embedding& table, float scale, Tensor x) override;
  void attention_in(Tensor x, const Norm& norm, const Linear& qkv, const QkNorm* qk_norm,
                    const Rope& rope, KvLayer& kv, Tensor q) override;
  void attention(Tensor q, const KvLayer& kv, const AttentionParams& params, Tensor o) override;
  void project_add(Tensor h, const Linear& linear, const Norm* post, Tensor x) override;
  void ffn_in(Tensor x, const Norm& norm, const Linear& linear, Activation activation,
              Tensor h) override;
  void head(Tensor x, const Norm& norm, const Linear& output, const HeadParams& params,
            LogitSink& sink) override;
  void end_step() override { batch_.reset(); }

 private:
  struct Note {
    std::string name, shape;
    std::set<DType> formats;
  };
  // Records a product; handles of other backends are welcome and stay nameless.
  RecordedVerb& note(const char* verb, const Linear* linear, int rows);
  RecordedVerb& note_product(const char* verb, const Linear& linear, int rows);

  BackendInfo info_;
  std::unordered_map<const Linear*, Note> notes_;
  std::vector<RecordedVerb> verbs_;
  uint64_t packed_bytes_ = 0;
  uint64_t vector_bytes_ = 0;
  ScratchNeeds needs_;
  std::optional<ForwardBatch> batch_;  // between begin_step and end_step
};

}  // namespace serval
