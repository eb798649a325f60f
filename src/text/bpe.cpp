// Byte-level BPE, Radford et al. 2019 ("Language Models are Unsupervised Multitask Learners", 2.2).
// Vocabulary files write each byte as one printable character: the printable bytes of Latin-1 as
// themselves, the other 68 as U+0100, U+0101, ... in order. Tokens are decoded to plain bytes once,
// so that encoding compares bytes of the text with bytes of tokens and never builds the written
// form. Files without merges (tiktoken style) rank a pair by the id of the token it makes.
#include "text/bpe.h"

#include "serval/error.h"
#include "text/special_matcher.h"

namespace serval {
namespace {

constexpr bool printable(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
}

// [code point below 0x180] -> byte it stands for, or -1
constexpr std::array<int16_t, 0x180> alphabet() {
  std::array<int16_t, 0x180> out{};
  for (auto& byte : out) byte = -1;
  unsigned next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) {
    out[printable(byte) ? byte : next++] = static_cast<int16_t>(byte);
  }
  return out;
}
constexpr std::array<int16_t, 0x180> kAlphabet = alphabet();

// Appends the bytes that `text` stands for; false (and nothing appended) when it is not written in
// the alphabet, as some added tokens are.
bool append_decoded(std::string_view text, std::string& out) {
  const size_t before = out.size();
  for (size_t i = 0; i < text.size(); ++i) {
    auto code = static_cast<unsigned>(static_cast<unsigned char>(text[i]));
    if (code >= 0x80) {  // the alphabet needs no more than two bytes a character
      if (code < 0xC2 || code > 0xC5 || i + 1 == text.size())
        code = 0x180;
      else
        code = (code & 0x1F) << 6 | (static_cast<unsigned char>(text[++i]) & 0x3Fu);
    }
    if (code >= 0x180 || kAlphabet[code] < 0) {
      out.resize(before);
      return false;
    }
    out.push_back(static_cast<char>(kAlphabet[code]));
  }
  return true;
}

bool ordinary(TokenType type) {
  return type == TokenType::kNormal || type == TokenType::kUserDefined;
}

constexpr size_t kMaxWord = size_t{1} << 30;  // offsets in a word are 32 bits

}  // namespace

ByteBpeTokenizer::ByteBpeTokenizer(std::shared_ptr<const Vocab> vocab)
    : Tokenizer(std::move(vocab)),
      family_([&]() -> const PreTokenizer& {
        const PreTokenizer* known = PreTokenizer::find(vocab_->pre);
        return known != nullptr ? *known : *PreTokenizer::find("default");
      }()),
      tokens_(vocab_->types.size(), vocab_->types.size()),
      merges_(vocab_->merges.size()),
      by_id_(vocab_->merges.size() == 0),
      whole_(vocab_->types.size()) {
  load_tokens();
  load_merges(vocab_->merges, tokens_, append_decoded, merges_);
}

void ByteBpeTokenizer::load_tokens() {
  const Vocab& v = *vocab_;
  size_t total = 0;
  for (size_t i = 0; i < v.types.size(); ++i) total += v.texts[i].size();
  bytes_.reserve(total);  // decoding never lengthens, so the views below stay good
  std::vector<SpecialMatcher::Entry> special;
  std::vector<TokenTable::Entry> entries;
  entries.reserve(v.types.size());
  for (size_t i = 0; i < v.types.size(); ++i) {
    const std::string_view text = v.texts[i];
    if (text.empty()) continue;
    const auto id = static_cast<TokenId>(i);
    const TokenType type = v.types[i];
    const bool control = type == TokenType::kControl || type == TokenType::kUnknown;
    if (control || type == TokenType::kUserDefined)
      special.push_back({std::string(text), id, control});
    if (!ordinary(type)) continue;
    const size_t begin = bytes_.size();
    if (type == TokenType::kUserDefined || !append_decoded(text, bytes_)) bytes_ += text;
    const std::string_view bytes = std::string_view(bytes_).substr(begin);
    entries.push_back({bytes, id});
    max_token_ = std::max(max_token_, bytes.size());
  }
  tokens_.insert(entries);
  for (unsigned byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    byte_ids_[byte] = tokens_.find({&c, 1});
  }
  special_ = std::make_unique<SpecialMatcher>(std::move(special));
}

void ByteBpeTokenizer::encode_plain(std::string_view text, bool, std::vector<TokenId>& out) const {
  std::vector<Symbol> symbols;
  for_each_word(family_.stages, text,
                [&](std::string_view word) { encode_word(word, symbols, out); });
}

void ByteBpeTokenizer::encode_word(std::string_view word, std::vector<Symbol>& symbols,
                                   std::vector<TokenId>& out) const {
  for (; word.size() > kMaxWord; word.remove_prefix(kMaxWord)) {
    encode_word(word.substr(0, kMaxWord), symbols, out);
  }
  const TokenId whole = word.size() <= max_token_ ? tokens_.find(word) : -1;
  if (whole >= 0) {
    const auto answer = whole_.get(whole);
    if (answer == WholeTokenMemo::kYes || family_.has(PreTokenizer::kIgnoreMerges)) {
      out.push_back(whole);
      return;
    }
  }
  symbols.clear();
  for (size_t i = 0; i < word.size(); ++i) {
    // A byte without a token is dropped, as the published tokenizers do; their unknown token is a
    // control token, which text must not produce.
    const TokenId id = byte_ids_[static_cast<unsigned char>(word[i])];
    if (id >= 0) symbols.push_back({id, static_cast<uint32_t>(i)});
  }
  if (by_id_) {
    merge_symbols(word, symbols, [&](TokenId, TokenId, std::string_view joined) -> Merge {
      const TokenId id = joined.size() <= max_token_ ? tokens_.find(joined) : -1;
      return id < 0 ? Merge{} : Merge{static_cast<uint32_t>(id), id};
    });
  } else {
    merge_symbols(word, symbols, [&](TokenId left, TokenId right, std::string_view) {
      return merges_.find(left, right);
    });
  }
  if (whole >= 0) {
    const bool arrived = symbols.size() == 1 && symbols[0].id == whole;
    whole_.set(whole, arrived ? WholeTokenMemo::kYes : WholeTokenMemo::kNo);
  }
  for (const Symbol& symbol : symbols) out.push_back(symbol.id);
}

std::string ByteBpeTokenizer::token_bytes(TokenId id) const {
  const std::string_view text = vocab_->texts[static_cast<size_t>(id)];
  std::string out;
  if (vocab_->types[static_cast<size_t>(id)] == TokenType::kUserDefined ||
      !append_decoded(text, out)) {
    out = text;
  }
  return out;
}

}  // namespace serval
