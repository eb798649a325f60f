// forward() is the transformer decoder of https://arxiv.org/abs/1706.03762 in the form that
// https://arxiv.org/abs/2302.13971 settled on: pre-norm, rotary positions, gated MLP, no dropout.
#include "model/decoder.h"

#include <cmath>

#include "model/rope_scaling.h"
#include "serval/error.h"

namespace serval {

void DenseModel::forward(Backend& b, const ForwardBatch& batch, KvCache& kv, Workspace& workspace,
                         LogitSink& sink) const {
  const auto [x, q, o, h] = take_activations(workspace, config_, batch.rows());
  const AttentionParams attention{config_.heads, config_.attention_scale, 0,
                                  config_.attention_softcap};
  const HeadParams head{1.0F, config_.logit_softcap};

  b.begin_step(batch);
  b.embed(*weights_.embedding, config_.embedding_scale, x);
  for (int i = 0; i < config_.layers; ++i) {
    const DecoderLayer& layer = weights_.layers[static_cast<size_t>(i)];
    b.attention_in(x, layer.attn_norm, *layer.qkv, layer.qk(), *weights_.rope, kv.layer(i), q);
    b.attention(q, kv.layer(i), attention, o);
    b.project_add(o, *layer.attn_output, nullptr, x);
    b.ffn_in(x, layer.ffn_norm, *layer.gate_up, Activation::kSiluGated, h);
    b.project_add(h, *layer.down, nullptr, x);
  }
  b.head(x, weights_.output_norm, weights_.output_projection(), head, sink);
  b.end_step();
}

DecoderActivations take_activations(Workspace& workspace, const ModelConfig& config, int rows) {
  workspace.reset();
  DecoderActivations out;
  out.x = workspace.take(rows, config.hidden_size);
  out.q = workspace.take(rows, config.heads * config.head_dim);
  out.o = workspace.take(rows, config.heads * config.head_dim);
  out.h = workspace.take(rows, config.feed_forward);
  return out;
}

namespace {

// Packs tensors of a checked file, telling the progress as bytes go by.
class DecoderLoader {
 public:
  DecoderLoader(GgufFile& file, const ModelConfig& config, Backend& backend,
                const LoadProgress& progress)
      : file_(file), config_(config), backend_(backend), progress_(progress) {
    for (const GgufTensor& tensor : file.tensors()) total_ += tensor.ref.bytes();
  }

  DecoderWeights load() {
    DecoderWeights out;
    out.embedding = backend_.pack_embedding(ref("token_embd.weight"), !has("output.weight"), file_);
    advance(ref("token_embd.weight"));
    for (int i = 0; i < config_.layers; ++i) out.layers.push_back(load_layer(i));
    out.output_norm = norm("output_norm.weight");
    if (has("output.weight")) out.output = linear("output", {"output"});
    out.rope = backend_.make_rope(config_.rope);
    if (config_.sliding_period > 0) out.rope_local = backend_.make_rope(config_.rope_local);
    out.vectors = std::move(vectors_);
    return out;
  }

  std::vector<float> vector(const std::string& name) {
    const TensorRef& tensor = ref(name);
    std::vector<float> values(static_cast<size_t>(tensor.rows * tensor.cols));
    file_.read(tensor, 0, std::as_writable_bytes(std::span(values)));
    advance(tensor);
    return values;
  }

 private:
  DecoderLayer load_layer(int i) {
    const std::string blk = "blk." + std::to_string(i) + ".";
    DecoderLayer out;
    out.attn_norm = norm(blk + "attn_norm.weight");
    out.qkv = linear(blk + "attn_qkv", {blk + "attn_q", blk + "attn_k", blk + "attn_v"});
    if (has(blk + "attn_q_norm.weight")) {
      out.qk_norm = QkNorm{norm(blk + "attn_q_norm.weight"), norm(blk + "attn_k_norm.weight")};
    }
    out.attn_output = linear(blk + "attn_output", {blk + "attn_output"});
    out.post_attention_norm = optional_norm(blk + "post_attention_norm.weight");
    out.ffn_norm = norm(blk + "ffn_norm.weight");
    out.gate_up = linear(blk + "ffn_gate_up", {blk + "ffn_gate", blk + "ffn_up"});
    out.down = linear(blk + "ffn_down", {blk + "ffn_down"});
    out.post_ffn_norm = optional_norm(blk + "post_ffw_norm.weight");
    return out;
  }

  bool has(const std::string& name) const { return file_.find_tensor(name) != nullptr; }
  const TensorRef& ref(const std::string& name) const { return file_.find_tensor(name)->ref; }

  void advance(const TensorRef& tensor) {
    done_ += tensor.bytes();
    if (progress_) progress_(done_, total_);
  }

  // One multiplication of several matrices: "<part>.weight" and, where the file has it,
  // "<part>.bias".
  LinearPtr linear(const std::string& name, const std::vector<std::string>& parts) {
    LinearSpec spec;
    spec.name = name;
    bool any_bias = false;
    for (const std::string& part : parts) {
      spec.parts.push_back(ref(part + ".weight"));
      std::optional<TensorRef>& bias = spec.biases.emplace_back();
      if (has(part + ".bias")) bias = ref(part + ".bias");
      any_bias = any_bias || bias.has_value();
    }
    if (!any_bias) spec.biases.clear();
    LinearPtr out = backend_.pack(spec, file_);
    for (const TensorRef& part : spec.parts) advance(part);
    for (const std::optional<TensorRef>& bias : spec.biases) {
      if (bias) advance(*bias);
    }
    return out;
  }

  Norm norm(const std::string& name) {
    vectors_.push_back(backend_.upload(vector(name)));
    return {NormKind::kRms, config_.norm_epsilon, vectors_.back().get(), nullptr};
  }
  std::optional<Norm> optional_norm(const std::string& name) {
    if (!has(name)) return std::nullopt;
    return norm(name);
  }

  GgufFile& file_;
  const ModelConfig& config_;
  Backend& backend_;
  const LoadProgress& progress_;
  std::vector<BufferPtr> vectors_;
  uint64_t done_ = 0;
  uint64_t total_ = 0;
};

void apply_rope_factors(const GgufFile& file, std::span<const float> factors, RopeSpec& rope) {
  for (const float factor : factors) {
    if (!(std::isfinite(factor) && factor > 0.0F)) {
      throw Error(ErrorCode::kCorrupt, file.path() + ": tensor \"rope_freqs.weight\" holds " +
                                           std::to_string(factor) + "; factors must be above 0");
    }
  }
  divide_frequencies(rope, factors);
}

}  // namespace

DecoderWeights load_decoder(GgufFile& file, ModelConfig& config, std::span<const TensorSpec> table,
                            Backend& backend, const LoadProgress& progress) {
  check_tensors(file, config, table);
  config.tied_output = file.find_tensor("output.weight") == nullptr;
  DecoderLoader loader(file, config, backend, progress);
  if (file.find_tensor("rope_freqs.weight") != nullptr) {
    apply_rope_factors(file, loader.vector("rope_freqs.weight"), config.rope);
  }
  return loader.load();
}

}  // namespace serval
