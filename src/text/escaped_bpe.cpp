// SentencePiece BPE (Kudo and Richardson 2018; src/bpe_model.cc, src/normalizer.cc of
// google/sentencepiece define the behaviour): the text is normalized (a space in front, spaces to
// U+2581), user-defined pieces are cut out and frozen, and the adjacent pair whose joined text has
// the highest score is merged until none is left. Characters without a piece become byte pieces.
// gemma4 differs in one thing: pairs are ranked by a list of merges, as in other BPE vocabularies.
//
// The definition merges over the whole text at once. Merging words apart gives the same result
// wherever no token can cross the border, and a border before U+2581 is crossed only by tokens that
// hold a U+2581 after another character. Those characters are collected from the vocabulary (Gemma
// has one such token), and the text is cut before every other U+2581; so words are short and
// usually tokens themselves.
#include "text/escaped_bpe.h"

#include <bit>

#include "base/utf8.h"
#include "text/special_matcher.h"

namespace serval {
namespace {

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";
constexpr size_t kMaxSegment = size_t{1} << 30;  // offsets in a segment are 32 bits

// Scores in descending order as ascending integers below UINT32_MAX.
uint32_t rank_of(float score) {
  const auto bits = std::bit_cast<uint32_t>(score + 0.0f);  // -0 to +0
  const uint32_t ascending = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  return ~ascending;
}

std::string_view last_character(std::string_view text) {
  size_t begin = text.size();
  while (begin > 0) {
    --begin;
    if ((static_cast<unsigned char>(text[begin]) & 0xC0) != 0x80) break;
  }
  return text.substr(begin);
}

std::string escape_spaces(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == ' ')
      out += kSpaceMark;
    else
      out.push_back(c);
  }
  return out;
}

std::string unescape_spaces(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t mark = std::min(text.find(kSpaceMark, at), text.size());
    out += text.substr(at, mark - at);
    if (mark < text.size()) out.push_back(' ');
    at = mark + kSpaceMark.size();
  }
  return out;
}

}  // namespace

EscapedBpeTokenizer::EscapedBpeTokenizer(std::shared_ptr<const Vocab> vocab)
    : Tokenizer(std::move(vocab)),
      by_rank_(vocab_->kind == VocabKind::kGemma4),
      tokens_(vocab_->types.size(), vocab_->types.size()),
      merges_(by_rank_ ? vocab_->merges.size() : 0),
      whole_(vocab_->types.size()) {
  drops_leading_space_ = vocab_->add_space_prefix;
  load_tokens();
  load_merges();
}

void EscapedBpeTokenizer::load_tokens() {
  const Vocab& v = *vocab_;
  byte_ids_.fill(-1);
  std::vector<SpecialMatcher::Entry> control, user;
  std::vector<TokenTable::Entry> entries;
  entries.reserve(v.types.size());
  size_t user_bytes = 0;
  for (size_t i = 0; i < v.types.size(); ++i) {
    if (v.types[i] == TokenType::kUserDefined) user_bytes += 3 * v.texts[i].size();
  }
  escaped_.reserve(user_bytes);
  for (size_t i = 0; i < v.types.size(); ++i) {
    const auto id = static_cast<TokenId>(i);
    std::string_view text = v.texts[i];
    if (text.empty()) continue;
    switch (v.types[i]) {
      case TokenType::kControl:
      case TokenType::kUnknown:
        control.push_back({std::string(text), id, true});
        continue;
      case TokenType::kByte: {
        TokenId& slot = byte_ids_[*parse_byte_token(text)];
        if (slot < 0) slot = id;
        has_bytes_ = true;
        continue;
      }
      case TokenType::kUserDefined: {
        const std::string form = escape_spaces(text);
        user.push_back({form, id, false});
        escaped_ += form;
        text = std::string_view(escaped_).substr(escaped_.size() - form.size());
        break;
      }
      case TokenType::kUnused:
        has_unused_ = true;
        break;
      case TokenType::kNormal:
        break;
    }
    entries.push_back({text, id});
    max_token_ = std::max(max_token_, text.size());
    for (size_t at = text.find(kSpaceMark, 1); at != std::string_view::npos;
         at = text.find(kSpaceMark, at + 1)) {
      const std::string_view before = last_character(text.substr(0, at));
      if (before != kSpaceMark) joins_space_.insert(before);
    }
  }
  tokens_.insert(entries);
  special_ = std::make_unique<SpecialMatcher>(std::move(control));
  user_defined_ = std::make_unique<SpecialMatcher>(std::move(user));
}

void EscapedBpeTokenizer::load_merges() {
  const Vocab& v = *vocab_;
  if (!by_rank_) {
    ranks_.resize(v.scores.size());
    for (size_t i = 0; i < v.scores.size(); ++i) ranks_[i] = rank_of(v.scores[i]);
    return;
  }
  const auto append = [](std::string_view text, std::string& out) {
    out += text;
    return true;
  };
  serval::load_merges(v.merges, tokens_, append, merges_);
}

std::string EscapedBpeTokenizer::normalized(std::string_view text, bool after_special) const {
  const bool squeeze = vocab_->remove_extra_whitespaces;
  std::string out;
  out.reserve(text.size() + text.size() / 2 + 3);
  if (squeeze) {
    while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
    while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
    if (text.empty()) return out;
  }
  if (vocab_->add_space_prefix && after_special) out += kSpaceMark;
  for (size_t at = 0; at < text.size();) {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte == ' ') {
      out += kSpaceMark;
      ++at;
      while (squeeze && at < text.size() && text[at] == ' ') ++at;
    } else if (byte < 0x80) {
      out.push_back(text[at++]);
    } else {
      const Utf8Step step = decode_utf8(text.substr(at));
      if (step.valid)
        out.append(text, at, step.length);
      else
        out += "\xEF\xBF\xBD";
      at += step.length;
    }
  }
  return out;
}

void EscapedBpeTokenizer::encode_plain(std::string_view raw, bool after_special,
                                       std::vector<TokenId>& out) const {
  const std::string normal = normalized(raw, after_special);
  const std::string_view text = normal;
  Scratch scratch;
  size_t begin = 0;
  const auto flush = [&](size_t end) {
    while (end - begin > kMaxSegment) {
      encode_segment(text.substr(begin, kMaxSegment), scratch, out);
      begin += kMaxSegment;
    }
    if (begin < end) encode_segment(text.substr(begin, end - begin), scratch, out);
    begin = end;
  };
  for (size_t pos = 0; pos < text.size();) {
    if (user_defined_->may_start(text[pos])) {
      const SpecialMatcher::Match match = user_defined_->match(text, pos, text.size());
      if (match.length != 0) {
        flush(pos);
        out.push_back(match.id);
        begin = pos += match.length;
        continue;
      }
    }
    if (text[pos] == kSpaceMark[0] && text.compare(pos, kSpaceMark.size(), kSpaceMark) == 0) {
      if (pos > begin) {
        const std::string_view before = last_character(text.substr(begin, pos - begin));
        if (before != kSpaceMark && !joins_space_.contains(before)) flush(pos);
      }
      pos += kSpaceMark.size();
      continue;
    }
    ++pos;
  }
  flush(text.size());
}

void EscapedBpeTokenizer::merge_by_score(std::string_view segment, Scratch& scratch) const {
  const auto rule = [&](TokenId, TokenId, std::string_view joined) -> Merge {
    if (joined.size() > max_token_) return {};
    const TokenId id = tokens_.find(joined);
    return id < 0 ? Merge{} : Merge{ranks_[static_cast<size_t>(id)], id};
  };
  if (!has_unused_) {
    merge_symbols(segment, scratch.symbols, rule);
    return;
  }
  // The left half of a pair ends where its right symbol begins; find it by the joined text's place.
  std::vector<Symbol>& symbols = scratch.symbols;
  merge_symbols(
      segment, symbols, [&](TokenId left, TokenId right, std::string_view joined) -> Merge {
        const Merge merge = rule(left, right, joined);
        if (merge.id >= 0 && vocab_->types[static_cast<size_t>(merge.id)] == TokenType::kUnused) {
          const size_t left_size =
              left >= 0 ? tokens_.key(left).size() : decode_utf8(joined).length;
          scratch.unused[merge.id] = left_size;
        }
        return merge;
      });
}

void EscapedBpeTokenizer::encode_segment(std::string_view segment, Scratch& scratch,
                                         std::vector<TokenId>& out) const {
  const TokenId whole = segment.size() <= max_token_ ? tokens_.find(segment) : -1;
  if (whole >= 0 && whole_.get(whole) == WholeTokenMemo::kYes) {
    out.push_back(whole);
    return;
  }
  std::vector<Symbol>& symbols = scratch.symbols;
  symbols.clear();
  for (size_t at = 0; at < segment.size();) {
    const size_t length = decode_utf8(segment.substr(at)).length;
    const TokenId id = by_rank_ ? tokens_.find(segment.substr(at, length)) : -1;
    symbols.push_back({id, static_cast<uint32_t>(at)});
    at += length;
  }
  if (by_rank_) {
    merge_symbols(segment, symbols, [&](TokenId left, TokenId right, std::string_view) {
      return merges_.find(left, right);
    });
  } else {
    merge_by_score(segment, scratch);
  }
  const bool one = symbols.size() == 1;
  for (size_t i = 0; i < symbols.size(); ++i) {
    const size_t end = i + 1 < symbols.size() ? symbols[i + 1].begin : segment.size();
    emit(symbols[i].id, segment.substr(symbols[i].begin, end - symbols[i].begin), scratch.unused,
         out);
  }
  if (whole >= 0) {
    const bool arrived = one && vocab_->types[static_cast<size_t>(whole)] != TokenType::kUnused;
    whole_.set(whole, arrived ? WholeTokenMemo::kYes : WholeTokenMemo::kNo);
  }
}

void EscapedBpeTokenizer::emit(TokenId id, std::string_view text, const UnusedSplits& unused,
                               std::vector<TokenId>& out) const {
  if (id < 0) id = tokens_.find(text);
  if (id < 0) {
    emit_unknown(text, out);
  } else if (vocab_->types[static_cast<size_t>(id)] == TokenType::kUnused) {
    emit_unused(id, text, unused, out);
  } else {
    out.push_back(id);
  }
}

// An unused token falls apart into the halves it was made of, and they again.
void EscapedBpeTokenizer::emit_unused(TokenId id, std::string_view text, const UnusedSplits& unused,
                                      std::vector<TokenId>& out) const {
  std::vector<std::string_view> parts = {text};
  while (!parts.empty()) {
    const std::string_view part = parts.back();
    parts.pop_back();
    id = tokens_.find(part);
    const auto split = id >= 0 ? unused.find(id) : unused.end();
    if (id < 0) {
      emit_unknown(part, out);
    } else if (split == unused.end() || split->second >= part.size() ||
               vocab_->types[static_cast<size_t>(id)] != TokenType::kUnused) {
      out.push_back(id);
    } else {
      parts.push_back(part.substr(split->second));
      parts.push_back(part.substr(0, split->second));
    }
  }
}

void EscapedBpeTokenizer::emit_unknown(std::string_view character,
                                       std::vector<TokenId>& out) const {
  if (has_bytes_) {
    for (const char c : character) {
      const TokenId id = byte_ids_[static_cast<unsigned char>(c)];
      if (id >= 0) out.push_back(id);
    }
  } else if (vocab_->unk && (out.empty() || out.back() != *vocab_->unk)) {
    out.push_back(*vocab_->unk);  // a run of unknown characters is one unknown token
  }
}

std::string EscapedBpeTokenizer::token_bytes(TokenId id) const {
  const std::string_view text = vocab_->texts[static_cast<size_t>(id)];
  if (vocab_->types[static_cast<size_t>(id)] == TokenType::kByte) {
    return std::string(1, static_cast<char>(*parse_byte_token(text)));
  }
  return unescape_spaces(text);
}

}  // namespace serval
