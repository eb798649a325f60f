// What all families share: special tokens are cut out of the raw text first (longest match,
// leftmost), each stretch between them goes to the family, and BOS/EOS or CLS/SEP are put around
// the whole.
//
// Trust is kept as a list of stretches. A control token is recognised only inside one trusted
// stretch, which is why neighbouring trusted runs are joined: a template may write "<|im_" and
// "start|>" apart. User-defined tokens are ordinary text with a reserved id and match whoever wrote
// them.
#include "text/tokenizer.h"

#include "serval/error.h"
#include "text/bpe.h"
#include "text/escaped_bpe.h"
#include "text/pretokenize.h"
#include "text/special_matcher.h"
#include "text/wordpiece.h"

namespace serval {

struct Tokenizer::Trust {
  size_t end;  // the stretch begins where the previous one ends
  bool trusted;
};

Tokenizer::Tokenizer(std::shared_ptr<const Vocab> vocab) : vocab_(std::move(vocab)) {}
Tokenizer::~Tokenizer() = default;

std::unique_ptr<Tokenizer> Tokenizer::create(std::shared_ptr<const Vocab> vocab) {
  switch (vocab->kind) {
    case VocabKind::kBytePair:
      return std::make_unique<ByteBpeTokenizer>(std::move(vocab));
    case VocabKind::kSentencePiece:
    case VocabKind::kGemma4:
      return std::make_unique<EscapedBpeTokenizer>(std::move(vocab));
    case VocabKind::kWordPiece:
      return std::make_unique<WordPieceTokenizer>(std::move(vocab));
  }
  throw Error(ErrorCode::kUnsupported, "tokenizer.ggml.model: unknown kind");
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  return encode_marked(text, {{text.size(), options.parse_special}}, options.add_special);
}

std::vector<TokenId> Tokenizer::encode(std::span<const TextRun> runs, bool add_special) const {
  std::string text;
  std::vector<Trust> trust;
  for (const TextRun& run : runs) {
    text += run.text;
    if (!trust.empty() && trust.back().trusted == run.trusted) {
      trust.back().end = text.size();
    } else {
      trust.push_back({text.size(), run.trusted});
    }
  }
  return encode_marked(text, trust, add_special);
}

std::vector<TokenId> Tokenizer::encode_marked(std::string_view text,
                                              const std::vector<Trust>& trust,
                                              bool add_special) const {
  const Vocab& v = *vocab_;
  const bool wordpiece = v.kind == VocabKind::kWordPiece;
  const auto first = wordpiece && v.cls ? v.cls : v.bos;
  const auto last = v.sep ? v.sep : v.eos;
  std::vector<TokenId> out;
  out.reserve(text.size() / 4 + 2);
  if (add_special && v.add_bos && first) out.push_back(*first);

  bool after_special = true;
  size_t begin = 0;
  size_t stretch = 0;
  for (size_t pos = 0; pos < text.size() && !special_->empty();) {
    if (!special_->may_start(text[pos])) {
      ++pos;
      continue;
    }
    while (trust[stretch].end <= pos) ++stretch;
    const size_t control_end = trust[stretch].trusted ? trust[stretch].end : pos;
    const SpecialMatcher::Match match = special_->match(text, pos, control_end);
    if (match.length == 0) {
      ++pos;
      continue;
    }
    if (begin < pos) encode_plain(text.substr(begin, pos - begin), after_special, out);
    out.push_back(match.id);
    after_special = true;
    begin = pos += match.length;
  }
  if (begin < text.size()) encode_plain(text.substr(begin), after_special, out);

  if (add_special && v.add_sep && last) {
    out.push_back(*last);
  } else if (add_special && v.add_eos && v.eos) {
    out.push_back(*v.eos);
  }
  return out;
}

std::string Tokenizer::piece(TokenId id, bool special) const {
  if (id < 0 || id >= vocab_->size()) return {};
  const TokenType type = vocab_->types[static_cast<size_t>(id)];
  if (type == TokenType::kControl || type == TokenType::kUnknown) {
    return special ? std::string(vocab_->texts[static_cast<size_t>(id)]) : std::string();
  }
  return token_bytes(id);
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool special) const {
  std::string out;
  bool first = drops_leading_space_;
  for (const TokenId id : ids) {
    const std::string bytes = piece(id, special);
    if (bytes.empty()) continue;
    out.append(bytes, first && bytes[0] == ' ' ? 1 : 0, std::string::npos);
    first = false;
  }
  return out;
}

}  // namespace serval
