// BPE over characters, with spaces written as U+2581 and bytes as a last resort: SentencePiece BPE
// (merges by score) and gemma4 (merges by rank). Thread-safe.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "text/bpe.h"

namespace serval {

class EscapedBpeTokenizer final : public Tokenizer {
 public:
  explicit EscapedBpeTokenizer(std::shared_ptr<const Vocab> vocab);

 private:
  // Where a merge into an unused token joined its halves, so that it can be taken apart again.
  using UnusedSplits = std::unordered_map<TokenId, size_t>;
  struct Scratch {
    std::vector<Symbol> symbols;
    UnusedSplits unused;
  };

  void encode_plain(std::string_view text, bool after_special,
                    std::vector<TokenId>& out) const override;
  std::string token_bytes(TokenId id) const override;

  void load_tokens();
  void load_merges();
  std::string normalized(std::string_view text, bool after_special) const;
  void encode_segment(std::string_view segment, Scratch& scratch, std::vector<TokenId>& out) const;
  void merge_by_score(std::string_view segment, Scratch& scratch) const;
  void emit(TokenId id, std::string_view text, const UnusedSplits& unused,
            std::vector<TokenId>& out) const;
  void emit_unused(TokenId id, std::string_view text, const UnusedSplits& unused,
                   std::vector<TokenId>& out) const;
  void emit_unknown(std::string_view character, std::vector<TokenId>& out) const;

  bool by_rank_;  // gemma4
  bool has_unused_ = false;
  bool has_bytes_ = false;
  std::string escaped_;  // user-defined tokens in normalized form, one after the other
  TokenTable tokens_;
  MergeTable merges_;            // by_rank_
  std::vector<uint32_t> ranks_;  // [id], from the scores: the higher score is the lower rank
  std::unique_ptr<const SpecialMatcher> user_defined_;  // matched in normalized text
  std::unordered_set<std::string_view> joins_space_;  // characters c with a token holding c U+2581
  size_t max_token_ = 0;
  std::array<TokenId, 256> byte_ids_{};
  WholeTokenMemo whole_;
};

}  // namespace serval
