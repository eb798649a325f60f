// Byte-level BPE (GPT-2 and its descendants): pre-tokenized words, bytes as the first symbols,
// merges by rank. Immutable but for a memo of atomics; thread-safe.
#pragma once

#include <array>
#include <atomic>

#include "text/merge.h"
#include "text/pretokenize.h"
#include "text/token_table.h"
#include "text/tokenizer.h"

namespace serval {

// For every token, whether merging its own text arrives at it; asked once per token and remembered.
// A word that is such a token needs no merging.
class WholeTokenMemo {
 public:
  enum Answer : uint8_t { kNotAsked, kYes, kNo };
  explicit WholeTokenMemo(size_t tokens) : answers_(new std::atomic<uint8_t>[tokens]()) {}
  Answer get(TokenId id) const {
    return static_cast<Answer>(answers_[static_cast<size_t>(id)].load(std::memory_order_relaxed));
  }
  void set(TokenId id, Answer answer) const {
    answers_[static_cast<size_t>(id)].store(answer, std::memory_order_relaxed);
  }

 private:
  std::unique_ptr<std::atomic<uint8_t>[]> answers_;
};

class ByteBpeTokenizer final : public Tokenizer {
 public:
  explicit ByteBpeTokenizer(std::shared_ptr<const Vocab> vocab);

 private:
  void encode_plain(std::string_view text, bool after_special,
                    std::vector<TokenId>& out) const override;
  std::string token_bytes(TokenId id) const override;

  void load_tokens();
  void encode_word(std::string_view word, std::vector<Symbol>& symbols,
                   std::vector<TokenId>& out) const;

  const PreTokenizer& family_;
  std::string bytes_;  // of all ordinary tokens, one after the other
  TokenTable tokens_;  // keys are views of bytes_
  MergeTable merges_;
  bool by_id_;  // no merges in the file: the lower id is the better pair
  size_t max_token_ = 0;
  std::array<TokenId, 256> byte_ids_{};
  WholeTokenMemo whole_;
};

}  // namespace serval
