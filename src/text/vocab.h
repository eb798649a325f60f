// Vocab: token texts, types and special ids of one model, validated once from GGUF metadata.
// Immutable after load; shared by tokenizer, detokenizer, templates and samplers. Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "format/gguf.h"

namespace serval {

using TokenId = int32_t;

enum class TokenType : uint8_t { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };
enum class VocabKind : uint8_t { kSentencePiece, kBytePair, kWordPiece, kGemma4 };

// The byte of a byte token "<0xHH>"; nullopt for any other text.
std::optional<unsigned char> parse_byte_token(std::string_view text);

struct Vocab {
  VocabKind kind = VocabKind::kBytePair;
  std::string pre;    // tokenizer.ggml.pre, "" when absent
  GgufStrings texts;  // [size] as stored (BPE: byte-to-unicode alphabet; SPM: U+2581 spaces)
  std::vector<TokenType> types;  // [size]
  std::vector<float> scores;     // [size] or empty
  GgufStrings merges;            // BPE: "left right", best first
  std::optional<TokenId> bos, eos, eot, eom, unk, pad, sep, cls, mask;
  std::optional<TokenId> fim_prefix, fim_suffix, fim_middle;
  std::vector<TokenId> end_of_generation;  // sorted; by id and by well-known text
  bool add_bos = false, add_eos = false, add_sep = false;
  bool add_space_prefix = false, remove_extra_whitespaces = false;
  bool lowercase = false, strip_accents = false;  // WordPiece
  std::vector<std::string> warnings;              // e.g. a missing or unknown `pre`

  int size() const { return static_cast<int>(types.size()); }
  bool is_end(TokenId id) const;
  bool is_control(TokenId id) const {
    return types[static_cast<size_t>(id)] == TokenType::kControl;
  }

  // Throws Error(kCorrupt / kUnsupported) naming the key. The file must outlive the Vocab's strings
  // (GgufStrings share ownership, so it may be closed).
  static std::shared_ptr<const Vocab> from_gguf(const GgufFile& file);
};

// About how much memory the metadata, the vocabulary and the tokenizer's tables of a file take, for
// plans.
uint64_t planned_text_bytes(const GgufFile& file);

}  // namespace serval
