// Test support: a small decoder model as a GGUF image, whose metadata and tensors a test may spoil.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "format/gguf.h"
#include "format/gguf_writer.h"

namespace serval {

class TinyModel {
 public:
  static constexpr int kLayers = 2, kHidden = 32, kHeads = 4, kKvHeads = 2, kHeadDim = 8;
  static constexpr int kFeedForward = 64, kVocab = 40;

  explicit TinyModel(std::string architecture) : architecture_(std::move(architecture)) {
    set("context_length", 128).set("embedding_length", kHidden).set("block_count", kLayers);
    set("feed_forward_length", kFeedForward).set("vocab_size", kVocab);
    set("attention.head_count", kHeads).set("attention.head_count_kv", kKvHeads);
    set_float("attention.layer_norm_rms_epsilon", 1e-5);
    tensor("token_embd.weight", {kHidden, kVocab}).tensor("output_norm.weight", {kHidden});
    for (int i = 0; i < kLayers; ++i) add_layer("blk." + std::to_string(i) + ".");
  }

  // Metadata under the architecture's name.
  TinyModel& set(const std::string& key, uint32_t value) {
    GgufValue& entry = entries_[key] = {};
    entry.type = GgufType::kUint32;
    entry.u = value;
    return *this;
  }
  TinyModel& set_float(const std::string& key, double value) {
    GgufValue& entry = entries_[key] = {};
    entry.type = GgufType::kFloat32;
    entry.f = value;
    return *this;
  }
  TinyModel& set_text(const std::string& key, const std::string& value) {
    GgufValue& entry = entries_[key] = {};
    entry.type = GgufType::kString;
    entry.s = value;
    return *this;
  }
  TinyModel& set_ints(const std::string& key, const std::vector<int64_t>& values) {
    GgufValue& entry = entries_[key] = {};
    entry.type = GgufType::kArray;
    entry.element = GgufType::kInt32;
    entry.ints = values;
    return *this;
  }
  TinyModel& remove(const std::string& key) {
    entries_.erase(key);
    return *this;
  }
  TinyModel& tensor(const std::string& name, std::vector<uint64_t> ne, DType type = DType::kF32) {
    tensors_[name] = {std::move(ne), type};
    return *this;
  }
  TinyModel& remove_tensor(const std::string& name) {
    tensors_.erase(name);
    return *this;
  }
  TinyModel& fill(float value) {  // what F32 tensors hold; 0.01 if not told
    fill_ = value;
    return *this;
  }

  std::vector<std::byte> bytes() const {
    MemorySink sink;
    GgufWriter writer(sink);
    writer.add_string("general.architecture", architecture_);
    for (const auto& [key, value] : entries_) writer.add(architecture_ + "." + key, value);
    size_t total = 0;
    for (const auto& [name, shape] : tensors_) {
      writer.add_tensor(name, shape.type, shape.ne);
      uint64_t elements = 1;
      for (const uint64_t extent : shape.ne) elements *= extent;
      total += row_bytes(shape.type, elements);
    }
    const std::vector<float> values(total / sizeof(float) + 1, fill_);
    writer.write(std::as_bytes(std::span(values)).first(total));
    writer.finish();
    return sink.bytes();
  }
  std::unique_ptr<GgufFile> parse() const { return GgufFile::parse(bytes(), "tiny"); }

 private:
  struct Shape {
    std::vector<uint64_t> ne;
    DType type = DType::kF32;
  };

  void add_layer(const std::string& blk) {
    constexpr uint64_t kQuery = kHeads * kHeadDim, kKeyValue = kKvHeads * kHeadDim;
    tensor(blk + "attn_norm.weight", {kHidden});
    tensor(blk + "attn_q.weight", {kHidden, kQuery});
    tensor(blk + "attn_k.weight", {kHidden, kKeyValue});
    tensor(blk + "attn_v.weight", {kHidden, kKeyValue});
    tensor(blk + "attn_output.weight", {kQuery, kHidden});
    tensor(blk + "ffn_norm.weight", {kHidden});
    tensor(blk + "ffn_gate.weight", {kHidden, kFeedForward});
    tensor(blk + "ffn_up.weight", {kHidden, kFeedForward});
    tensor(blk + "ffn_down.weight", {kFeedForward, kHidden});
    if (architecture_ == "qwen2") {
      tensor(blk + "attn_q.bias", {kQuery}).tensor(blk + "attn_k.bias", {kKeyValue});
      tensor(blk + "attn_v.bias", {kKeyValue});
    }
    if (architecture_ == "qwen3" || architecture_ == "gemma3") {
      tensor(blk + "attn_q_norm.weight", {kHeadDim}).tensor(blk + "attn_k_norm.weight", {kHeadDim});
    }
    if (architecture_ == "gemma3") {
      tensor(blk + "post_attention_norm.weight", {kHidden});
      tensor(blk + "post_ffw_norm.weight", {kHidden});
    }
  }

  std::string architecture_;
  std::map<std::string, GgufValue> entries_;
  std::map<std::string, Shape> tensors_;
  float fill_ = 0.01F;
};

}  // namespace serval
