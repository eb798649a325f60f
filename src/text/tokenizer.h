// Tokenizer: text -> ids, and back. One interface; byte-level BPE, SentencePiece, WordPiece and
// gemma4 behind it. Immutable after creation, thread-safe, linear time in the input.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/vocab.h"

namespace serval {

// A piece of a rendered prompt. Only trusted text (template literals) may become control tokens.
struct TextRun {
  std::string text;
  bool trusted = false;
};

struct EncodeOptions {
  bool parse_special = false;  // recognise control tokens (type 3) written out in the text
  bool add_special = true;     // add BOS / EOS / CLS / SEP where the vocabulary says so
};

class SpecialMatcher;

class Tokenizer {
 public:
  // Throws Error(kUnsupported) for a tokenizer model this build does not know.
  static std::unique_ptr<Tokenizer> create(std::shared_ptr<const Vocab> vocab);
  virtual ~Tokenizer();

  const Vocab& vocab() const { return *vocab_; }

  // Invalid UTF-8 is accepted: offending bytes are treated as U+FFFD or bytes, per family; never
  // throws.
  std::vector<TokenId> encode(std::string_view text, const EncodeOptions& options = {}) const;
  // The runs are tokenised as one text (merges cross borders); trust only decides where control
  // tokens may be recognised: a control token matches only if all its characters are trusted.
  std::vector<TokenId> encode(std::span<const TextRun> runs, bool add_special) const;

  // Bytes of one token as output text. Control tokens give their text only if `special`.
  std::string piece(TokenId id, bool special) const;
  // Joined pieces, with the family's leading-space rule; invalid UTF-8 is kept as is (see
  // Detokenizer).
  std::string decode(std::span<const TokenId> ids, bool special) const;

  // A text's first space is the family's own (SentencePiece's dummy prefix, WordPiece's word
  // start): decoding drops it.
  bool drops_leading_space() const { return drops_leading_space_; }

 protected:
  explicit Tokenizer(std::shared_ptr<const Vocab> vocab);

  // Appends the ids of text that holds no special token. `after_special`: at the start of the text,
  // or right after a special token.
  virtual void encode_plain(std::string_view text, bool after_special,
                            std::vector<TokenId>& out) const = 0;
  // The bytes that a token of any type but control stands for.
  virtual std::string token_bytes(TokenId id) const = 0;

  std::shared_ptr<const Vocab> vocab_;
  std::unique_ptr<const SpecialMatcher>
      special_;  // matched in the raw text, before everything else
  bool drops_leading_space_ = false;

 private:
  struct Trust;
  std::vector<TokenId> encode_marked(std::string_view text, const std::vector<Trust>& trust,
                                     bool add_special) const;
};

// Streaming detokenizer of one sequence: emits only whole UTF-8 characters; an incomplete tail is
// held back, and replaced by U+FFFD at finish() or when it can no longer become valid. Borrow the
// tokenizer.
class Detokenizer {
 public:
  // `continues`: the tokens follow others that have text, so that a first space is the text's own.
  explicit Detokenizer(const Tokenizer& tokenizer, bool special = false, bool continues = false)
      : tokenizer_(&tokenizer), special_(special), first_(!continues) {}
  std::string push(TokenId id);
  std::string finish();

 private:
  const Tokenizer* tokenizer_;
  bool special_;
  bool first_;
  std::string held_;
};

}  // namespace serval
