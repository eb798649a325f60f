// Qwen3, dense (https://arxiv.org/abs/2505.09388): the llama decoder with an RMS norm on every head
// of queries and keys before their rotation, and rotary pairs (i, i + dims/2).
#include "model/arch/architectures.h"
#include "model/config_reader.h"
#include "model/decoder.h"

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
    {"blk.*.ffn_norm.weight", Dim::kHidden, Dim::kNone},
    {"blk.*.ffn_gate.weight", Dim::kHidden, Dim::kFeedForward},
    {"blk.*.ffn_up.weight", Dim::kHidden, Dim::kFeedForward},
    {"blk.*.ffn_down.weight", Dim::kFeedForward, Dim::kHidden},
    {"output_norm.weight", Dim::kHidden, Dim::kNone},
    {"output.weight", Dim::kHidden, Dim::kVocab, Need::kOptional},
};

ModelConfig read_config(const GgufFile& file) {
  return read_decoder_config(file, "qwen3", RopeStyle::kHalves);
}

std::unique_ptr<Model> load(GgufFile& file, ModelConfig config, Backend& backend,
                            const LoadProgress& progress) {
  DecoderWeights weights = load_decoder(file, config, kTensors, backend, progress);
  return std::make_unique<DenseModel>(std::move(config), std::move(weights));
}

}  // namespace

Architecture qwen3_architecture() { return {"qwen3", read_config, load}; }

}  // namespace serval
