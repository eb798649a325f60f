// Gemma 3, text (https://arxiv.org/abs/2503.19786).
//
//   x = sqrt(d) * embedding[token]
//   for each layer:  x += rmsnorm(Wo attention(rope(qnorm(Wq n)), rope(knorm(Wk n)), Wv n))
//                    x += rmsnorm(Wdown (gelu(Wgate n) * Wup n))        with n = rmsnorm(x)
//   logits = Wout rmsnorm(x)
//
// Of every six layers the first five see a sliding window and rotate with base 10,000; the sixth
// sees everything and uses the file's base and scaling. The files' norm weights are w + 1 already.
#include <cmath>

#include "model/arch/architectures.h"
#include "model/config_reader.h"
#include "model/decoder.h"
#include "model/rope_scaling.h"
#include "serval/error.h"

namespace serval {
namespace {

constexpr TensorSpec kTensors[] = {
    {"token_embd.weight", Dim::kHidden, Dim::kVocab},
    {"blk.*.attn_norm.weight", Dim::kHidden, Dim::kNone},
    {"blk.*.attn_q.weight", Dim::kHidden, Dim::kQuery},
    {"blk.*.attn_q_norm.weight", Dim::kHeadDim, Dim::kNone},
    {"blk.*.attn_k.weight", Dim::kHidden, Dim::kKeyValue},
    {"blk.*.attn_k_norm.weight", Dim::kHeadDim, Dim::kNone},
    {"blk.*.attn_v.weight", Dim::kHidden, Dim::kKeyValue},
    {"blk.*.attn_output.weight", Dim::kQuery, Dim::kHidden},
    {"blk.*.post_attention_norm.weight", Dim::kHidden, Dim::kNone},
    {"blk.*.ffn_norm.weight", Dim::kHidden, Dim::kNone},
    {"blk.*.ffn_gate.weight", Dim::kHidden, Dim::kFeedForward},
    {"blk.*.ffn_up.weight", Dim::kHidden, Dim::kFeedForward},
    {"blk.*.ffn_down.weight", Dim::kFeedForward, Dim::kHidden},
    {"blk.*.post_ffw_norm.weight", Dim::kHidden, Dim::kNone},
    {"output_norm.weight", Dim::kHidden, Dim::kNone},
    {"output.weight", Dim::kHidden, Dim::kVocab, Need::kOptional},
};

class Gemma3Model final : public Model {
 public:
  Gemma3Model(ModelConfig config, DecoderWeights weights)
      : Model(std::move(config)), weights_(std::move(weights)) {}

  void forward(Backend& b, const ForwardBatch& batch, KvCache& kv, Workspace& workspace,
               LogitSink& sink) const override {
    const auto [x, q, o, h] = take_activations(workspace, config_, batch.rows());
    const HeadParams head{1.0F, config_.logit_softcap};

    b.begin_step(batch);
    b.embed(*weights_.embedding, config_.embedding_scale, x);
    for (int i = 0; i < config_.layers; ++i) {
      const DecoderLayer& layer = weights_.layers[static_cast<size_t>(i)];
      const bool local = config_.layer_is_local(i);
      const Rope& rope = local ? *weights_.rope_local : *weights_.rope;
      const AttentionParams attention{config_.heads, config_.attention_scale,
                                      local ? config_.sliding_window : 0,
                                      config_.attention_softcap};
      b.attention_in(x, layer.attn_norm, *layer.qkv, layer.qk(), rope, kv.layer(i), q);
      b.attention(q, kv.layer(i), attention, o);
      b.project_add(o, *layer.attn_output, layer.post_attention(), x);
      b.ffn_in(x, layer.ffn_norm, *layer.gate_up, Activation::kGeluTanhGated, h);
      b.project_add(h, *layer.down, layer.post_ffn(), x);
    }
    b.head(x, weights_.output_norm, weights_.output_projection(), head, sink);
    b.end_step();
  }

 private:
  DecoderWeights weights_;
};

// The pattern is one number, every how many layers a global one comes, or says of each layer
// whether it is local; the model knows regular patterns only.
int read_period(const GgufFile& file, const ConfigReader& reader, int layers) {
  constexpr int kPeriod = 6;
  const std::string key = "attention.sliding_window_pattern";
  const GgufValue* value = file.find("gemma3." + key);
  if (value == nullptr || value->type != GgufType::kArray) {
    return reader.integer_or(key, 1, kMaxLayers, kPeriod);
  }
  const std::vector<int64_t>& local = value->ints;
  if (local.size() == static_cast<size_t>(layers)) {
    for (int period = 1; period <= layers + 1; ++period) {
      int layer = 0;
      while (layer < layers &&
             (local[static_cast<size_t>(layer)] != 0) == (layer % period != period - 1)) {
        ++layer;
      }
      if (layer == layers) return period;
    }
  }
  throw Error(ErrorCode::kUnsupported, "gemma3." + key + ": only a pattern for all " +
                                           std::to_string(layers) +
                                           " layers in which every n-th one is global can run");
}

ModelConfig read_config(const GgufFile& file) {
  constexpr double kLocalBase = 10000.0;
  constexpr int kLayersOf27B = 62;  // the one size that scales by hidden / heads, not by head_dim
  const ConfigReader reader(file, "gemma3");
  ModelConfig config = read_decoder_config(file, "gemma3", RopeStyle::kHalves);
  config.embedding_scale = std::sqrt(static_cast<float>(config.hidden_size));
  if (config.layers == kLayersOf27B) {
    config.attention_scale =
        1.0F / std::sqrt(static_cast<float>(config.hidden_size) / static_cast<float>(config.heads));
  }
  config.sliding_window = reader.integer_or("attention.sliding_window", 0, kMaxContext, 0);
  if (config.sliding_window > 0) {
    config.sliding_period = read_period(file, reader, config.layers);
  }
  config.rope_local =
      make_rope_spec(RopeStyle::kHalves, config.rope.dims,
                     reader.number_or("rope.freq_base_swa", 1.0001, 1e15, kLocalBase), {});
  config.attention_softcap =
      static_cast<float>(reader.number_or("attn_logit_softcapping", 0.0, 1e6, 0.0));
  config.logit_softcap =
      static_cast<float>(reader.number_or("final_logit_softcapping", 0.0, 1e6, 0.0));
  return config;
}

std::unique_ptr<Model> load(GgufFile& file, ModelConfig config, Backend& backend,
                            const LoadProgress& progress) {
  DecoderWeights weights = load_decoder(file, config, kTensors, backend, progress);
  return std::make_unique<Gemma3Model>(std::move(config), std::move(weights));
}

}  // namespace

Architecture gemma3_architecture() { return {"gemma3", read_config, load}; }

}  // namespace serval
