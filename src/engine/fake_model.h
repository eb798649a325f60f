// Test doubles: a backend whose K/V hold token ids, and a model whose logits are a hash of the
// tokens that it reads back from the cache through the block tables. Any mix-up of blocks, rows or
// positions therefore changes what is generated, at no cost, in any batch.
#pragma once

#include <array>
#include <chrono>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/check.h"
#include "format/gguf_writer.h"
#include "model/model.h"
#include "text/tokenizer.h"

namespace serval::fake {

class HeapBuffer final : public Buffer {
 public:
  explicit HeapBuffer(size_t bytes) : bytes_(bytes) {}
  void* data() override { return bytes_.data(); }
  size_t size() const override { return bytes_.size(); }

 private:
  std::vector<std::byte> bytes_;
};

class FakeBackend final : public Backend {
 public:
  const BackendInfo& info() const override { return info_; }
  LinearPtr pack(const LinearSpec&, TensorSource&) override { return nullptr; }
  EmbeddingPtr pack_embedding(const TensorRef&, bool, TensorSource&) override { return nullptr; }
  BufferPtr upload(std::span<const float>) override { return nullptr; }
  BufferPtr allocate(size_t bytes) override { return std::make_unique<HeapBuffer>(bytes); }
  RopePtr make_rope(const RopeSpec&) override { return nullptr; }
  KvLayer make_kv_layer(KvType type, int kv_heads, int head_dim, int blocks) override {
    constexpr size_t kBytes = kBlockTokens * sizeof(float);
    KvLayer layer{type, kv_heads, head_dim, blocks, 1, kBytes, kBytes, nullptr, nullptr};
    layer.k = allocate(kBytes * static_cast<size_t>(blocks));
    layer.v = allocate(kBytes * static_cast<size_t>(blocks));
    return layer;
  }
  void reserve(const StepLimits&) override {}
  void begin_step(const ForwardBatch&) override {}
  void embed(const Embedding&, float, Tensor) override {}
  void attention_in(Tensor, const Norm&, const Linear&, const QkNorm*, const Rope&, KvLayer&,
                    Tensor) override {}
  void attention(Tensor, const KvLayer&, const AttentionParams&, Tensor) override {}
  void project_add(Tensor, const Linear&, const Norm*, Tensor) override {}
  void ffn_in(Tensor, const Norm&, const Linear&, Activation, Tensor) override {}
  void head(Tensor, const Norm&, const Linear&, const HeadParams&, LogitSink&) override {}
  void end_step() override {}

 private:
  BackendInfo info_{"fake", "fake", 1, "fake 1"};
};

inline ModelConfig fake_config(int vocab) {
  ModelConfig config;
  config.architecture = "fake";
  config.vocab_size = vocab;
  config.context_length = 4096;
  config.layers = config.kv_heads = config.head_dim = 1;
  config.hidden_size = 4;
  return config;
}

inline uint64_t mix(uint64_t h, uint64_t x) {
  h = (h ^ x) * 0x9E3779B97F4A7C15ULL;
  return h ^ (h >> 29);
}

class FakeModel final : public Model {
 public:
  explicit FakeModel(int vocab) : Model(fake_config(vocab)), logits_(static_cast<size_t>(vocab)) {}

  // Called once per step, e.g. to throw.
  std::function<void(const ForwardBatch&)> on_forward;
  // Called per row of logits with the tokens up to it.
  std::function<void(std::span<const TokenId>, std::span<float>)> on_logits;

  // The token that greedy decoding chooses after these tokens, without any engine.
  TokenId next(std::span<const TokenId> tokens) const {
    fill(tokens, logits_);
    return static_cast<TokenId>(std::max_element(logits_.begin(), logits_.end()) - logits_.begin());
  }

  // Of the last of these tokens.
  static std::array<float, 4> hidden_state(std::span<const TokenId> tokens) {
    uint64_t h = 2;
    for (const TokenId token : tokens) h = mix(h, static_cast<uint64_t>(token) + 1);
    std::array<float, 4> out;
    for (size_t i = 0; i < out.size(); ++i) {
      out[i] = static_cast<float>(mix(h, i) >> 40) * 0x1.0p-20F - 8.0F;
    }
    return out;
  }

  void forward(Backend& backend, const ForwardBatch& batch, KvCache& kv, Workspace&,
               LogitSink& sink) const override {
    if (dynamic_cast<FakeBackend*>(&backend) == nullptr) return;  // the recording backend
    if (on_forward) on_forward(batch);
    auto* cache = static_cast<int32_t*>(kv.layer(0).k->data());
    const auto slot = [&](const RowSpan& span, int position) -> int32_t& {
      const BlockId block =
          batch.block_tables[static_cast<size_t>(span.first_block + position / kBlockTokens)];
      return cache[block * kBlockTokens + position % kBlockTokens];
    };
    for (const RowSpan& span : batch.spans) {
      for (int i = 0; i < span.rows; ++i) {
        const auto row = static_cast<size_t>(span.first_row + i);
        SERVAL_CHECK(batch.positions[row] == span.past + i);
        slot(span, span.past + i) = batch.tokens[row];
      }
    }
    size_t next_logit = 0, next_hidden = 0;
    for (const RowSpan& span : batch.spans) {
      for (int i = 0; i < span.rows; ++i) {
        if (next_hidden < batch.hidden_rows.size() &&
            batch.hidden_rows[next_hidden] == span.first_row + i) {
          history_.clear();
          for (int p = 0; p <= span.past + i; ++p) history_.push_back(slot(span, p));
          std::array<float, 4> values = hidden_state(history_);
          sink.hidden(static_cast<int>(next_hidden++), {values.data(), 1, 4, 4});
        }
        if (next_logit == batch.logit_rows.size() ||
            batch.logit_rows[next_logit] != span.first_row + i) {
          continue;
        }
        history_.clear();
        for (int p = 0; p <= span.past + i; ++p) history_.push_back(slot(span, p));
        fill(history_, logits_);
        if (on_logits) on_logits(history_, logits_);
        sink.logits(static_cast<int>(next_logit++),
                    {logits_.data(), 1, config_.vocab_size, config_.vocab_size});
      }
    }
    SERVAL_CHECK(next_logit == batch.logit_rows.size());
    SERVAL_CHECK(next_hidden == batch.hidden_rows.size());
  }

 private:
  static void fill(std::span<const TokenId> tokens, std::vector<float>& logits) {
    uint64_t h = 1;
    for (const TokenId token : tokens) h = mix(h, static_cast<uint64_t>(token) + 1);
    for (size_t v = 0; v < logits.size(); ++v) {
      logits[v] = static_cast<float>(mix(h, v + 77) >> 40) * 0x1.0p-21F;  // 0 .. 8
    }
  }

  mutable std::vector<float> logits_;
  mutable std::vector<TokenId> history_;
};

// A byte-level vocabulary without merges: token b is byte b; 256 is the end of text.
inline constexpr TokenId kEnd = 256;
inline constexpr int kVocab = 257;

inline std::unique_ptr<Tokenizer> byte_tokenizer() {
  std::vector<std::string> texts(256);
  int extra = 0;
  for (int b = 0; b < 256; ++b) {
    const bool shown = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    const int code = shown ? b : 256 + extra++;
    std::string& text = texts[static_cast<size_t>(b)];
    if (code < 0x80) {
      text = static_cast<char>(code);
    } else {
      text = {static_cast<char>(0xC0 | (code >> 6)), static_cast<char>(0x80 | (code & 0x3F))};
    }
  }
  texts.emplace_back("<|endoftext|>");
  std::vector<int32_t> types(texts.size(), 1);
  types.back() = 3;
  MemorySink sink;
  GgufWriter writer(sink);
  writer.add_string("general.architecture", "fake");
  writer.add_string("tokenizer.ggml.model", "gpt2");
  writer.add_string("tokenizer.ggml.pre", "gpt-2");
  writer.add_strings("tokenizer.ggml.tokens", texts);
  writer.add_ints("tokenizer.ggml.token_type", types);
  writer.add_strings("tokenizer.ggml.merges", std::vector<std::string>{});
  writer.add_uint32("tokenizer.ggml.eos_token_id", kEnd);
  writer.finish();
  return Tokenizer::create(Vocab::from_gguf(*GgufFile::parse(sink.bytes(), "fake")));
}

}  // namespace serval::fake
