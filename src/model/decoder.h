// The weights of a dense decoder, as the backend packed them, and the forward pass that llama,
// qwen2 and qwen3 share. Architectures state their differences in arch/*.cpp.
//
// Shapes: rows = tokens of the batch, d = hidden_size, hd = head_dim, ff = feed_forward.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "model/model.h"
#include "model/tensor_spec.h"

namespace serval {

struct DecoderLayer {
  Norm attn_norm;                           // [d]
  LinearPtr qkv;                            // d -> (heads + 2 kv_heads) * hd
  std::optional<QkNorm> qk_norm;            // [hd] each
  LinearPtr attn_output;                    // heads * hd -> d
  std::optional<Norm> post_attention_norm;  // [d]
  Norm ffn_norm;                            // [d]
  LinearPtr gate_up;                        // d -> 2 ff
  LinearPtr down;                           // ff -> d
  std::optional<Norm> post_ffn_norm;        // [d]

  const QkNorm* qk() const { return qk_norm ? &*qk_norm : nullptr; }
  const Norm* post_attention() const {
    return post_attention_norm ? &*post_attention_norm : nullptr;
  }
  const Norm* post_ffn() const { return post_ffn_norm ? &*post_ffn_norm : nullptr; }
};

struct DecoderWeights {
  EmbeddingPtr embedding;  // [vocab, d]
  std::vector<DecoderLayer> layers;
  Norm output_norm;                // [d]
  LinearPtr output;                // d -> vocab; null when tied to the embedding
  RopePtr rope;                    // global layers
  RopePtr rope_local;              // sliding-window layers; null without such
  std::vector<BufferPtr> vectors;  // what the norms above point into

  const Linear& output_projection() const { return output ? *output : embedding->linear(); }
};

// Checks `file` against the table, then packs every tensor in it. Sets config.tied_output, and
// applies rope_freqs.weight to config.rope. Throws Error.
DecoderWeights load_decoder(GgufFile& file, ModelConfig& config, std::span<const TensorSpec> table,
                            Backend& backend, const LoadProgress& progress);

// Activations of one step, taken from the workspace.
struct DecoderActivations {
  Tensor x;  // [rows, d]           residual stream
  Tensor q;  // [rows, heads * hd]  queries
  Tensor o;  // [rows, heads * hd]  what attention found
  Tensor h;  // [rows, ff]          inside of the MLP
};
DecoderActivations take_activations(Workspace& workspace, const ModelConfig& config, int rows);

// Pre-norm decoder with rotary positions, grouped-query attention and a gated SiLU MLP.
class DenseModel final : public Model {
 public:
  DenseModel(ModelConfig config, DecoderWeights weights)
      : Model(std::move(config)), weights_(std::move(weights)) {}
  void forward(Backend& backend, const ForwardBatch& batch, KvCache& kv, Workspace& workspace,
               LogitSink& sink) const override;

 private:
  DecoderWeights weights_;
};

}  // namespace serval
