// Llama 2 and 3, Mistral 7B, SmolLM2 and relatives (https://arxiv.org/abs/2302.13971,
// https://arxiv.org/abs/2407.21783).
//
//   x = embedding[token]
//   for each layer:  x += Wo attention(rope(Wq n), rope(Wk n), Wv n)   with n = rmsnorm(x)
//                    x += Wdown (silu(Wgate n) * Wup n)                with n = rmsnorm(x)
//   logits = Wout rmsnorm(x)
//
// Its own: rotary pairs are adjacent values (the converter permuted the rows of Wq and Wk for it),
// long-context models scale frequencies per pair (rope_freqs), some relatives add biases.
#include "model/arch/architectures.h"
#include "model/config_reader.h"
#include "model/decoder.h"

namespace serval {
namespace {

constexpr TensorSpec kTensors[] = {
    {"token_embd.weight", Dim::kHidden, Dim::kVocab},
    {"rope_freqs.weight", Dim::kRopePairs, Dim::kNone, Need::kOptional},
    {"blk.*.attn_norm.weight", Dim::kHidden, Dim::kNone},
    {"blk.*.attn_q.weight", Dim::kHidden, Dim::kQuery},
    {"blk.*.attn_q.bias", Dim::kQuery, Dim::kNone, Need::kOptional},
    {"blk.*.attn_k.weight", Dim::kHidden, Dim::kKeyValue},
    {"blk.*.attn_k.bias", Dim::kKeyValue, Dim::kNone, Need::kOptional},
    {"blk.*.attn_v.weight", Dim::kHidden, Dim::kKeyValue},
    {"blk.*.attn_v.bias", Dim::kKeyValue, Dim::kNone, Need::kOptional},
    {"blk.*.attn_output.weight", Dim::kQuery, Dim::kHidden},
    {"blk.*.attn_output.bias", Dim::kHidden, Dim::kNone, Need::kOptional},
    {"blk.*.ffn_norm.weight", Dim::kHidden, Dim::kNone},
    {"blk.*.ffn_gate.weight", Dim::kHidden, Dim::kFeedForward},
    {"blk.*.ffn_gate.bias", Dim::kFeedForward, Dim::kNone, Need::kOptional},
    {"blk.*.ffn_up.weight", Dim::kHidden, Dim::kFeedForward},
    {"blk.*.ffn_up.bias", Dim::kFeedForward, Dim::kNone, Need::kOptional},
    {"blk.*.ffn_down.weight", Dim::kFeedForward, Dim::kHidden},
    {"blk.*.ffn_down.bias", Dim::kHidden, Dim::kNone, Need::kOptional},
    {"output_norm.weight", Dim::kHidden, Dim::kNone},
    {"output.weight", Dim::kHidden, Dim::kVocab, Need::kOptional},
};

ModelConfig read_config(const GgufFile& file) {
  return read_decoder_config(file, "llama", RopeStyle::kAdjacent);
}

std::unique_ptr<Model> load(GgufFile& file, ModelConfig config, Backend& backend,
                            const LoadProgress& progress) {
  DecoderWeights weights = load_decoder(file, config, kTensors, backend, progress);
  return std::make_unique<DenseModel>(std::move(config), std::move(weights));
}

}  // namespace

Architecture llama_architecture() { return {"llama", read_config, load}; }

}  // namespace serval
