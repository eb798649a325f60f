// Qwen2 and Qwen2.5 (https://arxiv.org/abs/2407.10671): the llama decoder with biases on queries,
// keys and values, and rotary pairs (i, i + dims/2).
#include "model/arch/architectures.h"
#include "model/config_reader.h"
#include "model/decoder.h"

namespace serval {
namespace {

constexpr TensorSpec kTensors[] = {
    {"token_embd.weight", Dim::kHidden, Dim::kVocab},
    {"blk.*.attn_norm.weight", Dim::kHidden, Dim::kNone},
    {"blk.*.attn_q.weight", Dim::kHidden, Dim::kQuery},
    {"blk.*.attn_q.bias", Dim::kQuery, Dim::kNone},
    {"blk.*.attn_k.weight", Dim::kHidden, Dim::kKeyValue},
    {"blk.*.attn_k.bias", Dim::kKeyValue, Dim::kNone},
    {"blk.*.attn_v.weight", Dim::kHidden, Dim::kKeyValue},
    {"blk.*.attn_v.bias", Dim::kKeyValue, Dim::kNone},
    {"blk.*.attn_output.weight", Dim::kQuery, Dim::kHidden},
    {"blk.*.ffn_norm.weight", Dim::kHidden, Dim::kNone},
    {"blk.*.ffn_gate.weight", Dim::kHidden, Dim::kFeedForward},
    {"blk.*.ffn_up.weight", Dim::kHidden, Dim::kFeedForward},
    {"blk.*.ffn_down.weight", Dim::kFeedForward, Dim::kHidden},
    {"output_norm.weight", Dim::kHidden, Dim::kNone},
    {"output.weight", Dim::kHidden, Dim::kVocab, Need::kOptional},
};

ModelConfig read_config(const GgufFile& file) {
  return read_decoder_config(file, "qwen2", RopeStyle::kHalves);
}

std::unique_ptr<Model> load(GgufFile& file, ModelConfig config, Backend& backend,
                            const LoadProgress& progress) {
  DecoderWeights weights = load_decoder(file, config, kTensors, backend, progress);
  return std::make_unique<DenseModel>(std::move(config), std::move(weights));
}

}  // namespace

Architecture qwen2_architecture() { return {"qwen2", read_config, load}; }

}  // namespace serval
