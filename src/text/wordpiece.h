// WordPiece (BERT): text cleaned and cut into words, each word covered greedily by the longest
// tokens.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/token_table.h"
#include "text/tokenizer.h"

namespace serval {

class WordPieceTokenizer final : public Tokenizer {
 public:
  explicit WordPieceTokenizer(std::shared_ptr<const Vocab> vocab);

 private:
  void encode_plain(std::string_view text, bool after_special,
                    std::vector<TokenId>& out) const override;
  std::string token_bytes(TokenId id) const override;

  std::vector<std::string> words(std::string_view text) const;
  void encode_word(const std::string& word, std::vector<TokenId>& out) const;

  TokenTable starts_, continuations_;  // keys without the marks
  bool hash_marks_ = false;            // "##" marks continuations; else U+2581 marks word starts
  size_t max_token_ = 0;
};

}  // namespace serval
