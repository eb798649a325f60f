// BERT's basic tokenizer and WordPiece (Devlin et al. 2019; google-research/bert tokenization.py):
// control characters go, white space separates, CJK ideographs and punctuation are words of their
// own; lower case and accents fold when the model says so; then longest match first from the left.
// A word that cannot be covered, or of more than 100 characters, is unknown as a whole.
//
// Vocabularies come in two forms: "##ing" for continuations, or U+2581 in front of word starts and
// nothing in front of continuations. The form is recognised by the presence of "##" tokens.
#include "text/wordpiece.h"

#include <utf8proc.h>

#include "base/utf8.h"
#include "text/special_matcher.h"
#include "text/unicode.h"

namespace serval {
namespace {

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";
constexpr size_t kMaxWordCharacters = 100;

bool is_cjk(char32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) ||
         (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B73F) ||
         (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B820 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

// Vertical tab, form feed and U+0085 are white space elsewhere, but controls to BERT.
bool is_control(char32_t c) {
  return c != '\t' && c != '\n' && c != '\r' && (c < 0x20 || (c >= 0x7F && c <= 0x9F));
}

// Canonical decomposition; a character never grows beyond 18 code points.
size_t decompose(char32_t c, int32_t (&out)[32]) {
  int boundary = 0;
  const auto n =
      utf8proc_decompose_char(static_cast<int32_t>(c), out, 32, UTF8PROC_DECOMPOSE, &boundary);
  if (n > 0 && n <= 32) return static_cast<size_t>(n);
  out[0] = static_cast<int32_t>(c);
  return 1;
}

}  // namespace

WordPieceTokenizer::WordPieceTokenizer(std::shared_ptr<const Vocab> vocab)
    : Tokenizer(std::move(vocab)),
      starts_(vocab_->types.size(), vocab_->types.size()),
      continuations_(vocab_->types.size(), vocab_->types.size()) {
  drops_leading_space_ = true;
  const Vocab& v = *vocab_;
  for (size_t i = 0; i < v.types.size() && !hash_marks_; ++i) {
    hash_marks_ = v.texts[i].size() > 2 && v.texts[i].substr(0, 2) == "##";
  }
  std::vector<SpecialMatcher::Entry> special;
  std::vector<TokenTable::Entry> starts, continuations;
  for (size_t i = 0; i < v.types.size(); ++i) {
    std::string_view text = v.texts[i];
    const auto id = static_cast<TokenId>(i);
    const bool control = v.types[i] == TokenType::kControl || v.types[i] == TokenType::kUnknown;
    if (control || v.types[i] == TokenType::kUserDefined) {
      special.push_back({std::string(text), id, control});
    }
    if (control) continue;
    const std::string_view mark = hash_marks_ ? std::string_view("##") : kSpaceMark;
    const bool marked = text.size() > mark.size() && text.substr(0, mark.size()) == mark;
    if (marked) text.remove_prefix(mark.size());
    (marked != hash_marks_ ? starts : continuations).push_back({text, id});
    max_token_ = std::max(max_token_, text.size());
  }
  starts_.insert(starts);
  continuations_.insert(continuations);
  special_ = std::make_unique<SpecialMatcher>(std::move(special));
}

std::vector<std::string> WordPieceTokenizer::words(std::string_view text) const {
  std::vector<std::string> words;
  bool open = false;  // the last word may grow
  const auto add = [&](char32_t c) {
    const CharMask mask = char_mask(static_cast<uint32_t>(c));
    // ASCII symbols count as punctuation here.
    const bool alone = is_cjk(c) || (mask & kPunct) != 0 || (c < 0x80 && (mask & kSymbol) != 0);
    if (alone || !open) words.emplace_back();
    append_utf8(words.back(), c);
    open = !alone;
  };
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = decode_utf8(text.substr(at));
    at += step.length;
    const CharMask mask = char_mask(static_cast<uint32_t>(step.code_point));
    if (is_control(step.code_point)) continue;
    if ((mask & kSpace) != 0) {
      open = false;
      continue;
    }
    if (!step.valid || step.code_point == 0xFFFD || (mask & kOther) != 0) continue;
    int32_t parts[32] = {static_cast<int32_t>(step.code_point)};
    const size_t n = vocab_->strip_accents ? decompose(step.code_point, parts) : 1;
    for (size_t i = 0; i < n; ++i) {
      if (vocab_->strip_accents && utf8proc_category(parts[i]) == UTF8PROC_CATEGORY_MN) continue;
      add(static_cast<char32_t>(vocab_->lowercase ? utf8proc_tolower(parts[i]) : parts[i]));
    }
  }
  return words;
}

void WordPieceTokenizer::encode_word(const std::string& word, std::vector<TokenId>& out) const {
  const size_t before = out.size();
  size_t characters = 0;
  for (const char c : word) characters += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  bool covered = characters <= kMaxWordCharacters;
  for (size_t at = 0; covered && at < word.size();) {
    const TokenTable& table = at == 0 ? starts_ : continuations_;
    size_t length = std::min(max_token_, word.size() - at);
    TokenId id = -1;
    for (; length > 0; --length) {
      id = table.find(std::string_view(word).substr(at, length));
      if (id >= 0) break;
    }
    covered = id >= 0;
    if (covered) out.push_back(id);
    at += length;
  }
  if (covered) return;
  out.resize(before);
  if (vocab_->unk) out.push_back(*vocab_->unk);
}

void WordPieceTokenizer::encode_plain(std::string_view text, bool,
                                      std::vector<TokenId>& out) const {
  for (const std::string& word : words(text)) encode_word(word, out);
}

std::string WordPieceTokenizer::token_bytes(TokenId id) const {
  const std::string_view text = vocab_->texts[static_cast<size_t>(id)];
  const std::string_view mark = hash_marks_ ? std::string_view("##") : kSpaceMark;
  const bool marked = text.substr(0, mark.size()) == mark && text.size() > mark.size();
  const std::string_view bare = marked ? text.substr(mark.size()) : text;
  return marked != hash_marks_ ? " " + std::string(bare) : std::string(bare);
}

}  // namespace serval
