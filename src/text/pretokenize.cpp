// The matchers. All are single scans that reproduce what a leftmost, first-alternative regular
// expression engine finds for these patterns, with the backtracking worked out by hand:
//   \s+(?!\S)         a white-space run that ends the text is whole; else all but its last
//   character \s*[\r\n]+        a run up to and including its last line end U* W+ | U+ W*     (U, W
//   share the caseless letters and marks) see cased_word()
#include "text/pretokenize.h"

namespace serval {
namespace {

bool contains(const CharSet& set, const char* p, const char* end, uint32_t& length) {
  const auto byte = static_cast<unsigned char>(*p);
  uint32_t code = byte;
  CharMask mask = 0;
  if (byte < 0x80) {
    length = 1;
    mask = kAsciiMasks[byte];
  } else {
    const Utf8Step c = decode_utf8({p, static_cast<size_t>(end - p)});
    length = static_cast<uint32_t>(c.length);
    code = c.code_point;
    if (set.mask != 0) mask = c.valid ? char_mask(code) : kSymbol;
  }
  bool in = (mask & set.mask) != 0;
  for (size_t i = 0; !in && i < set.ranges.size(); ++i) {
    if (code < set.ranges[i].first) break;
    in = code <= set.ranges[i].last;
  }
  return in != set.negated;
}

// End of the run of characters with a bit of `mask`; at most `max` of them.
const char* skip(const char* p, const char* end, CharMask mask, int max = INT_MAX) {
  for (; p < end && max > 0; --max) {
    const auto byte = static_cast<unsigned char>(*p);
    if (byte < 0x80) {
      if ((kAsciiMasks[byte] & mask) == 0) return p;
      ++p;
      continue;
    }
    const MaskedChar c = masked_char(p, end);
    if ((c.mask & mask) == 0) return p;
    p += c.length;
  }
  return p;
}

// 's 't 're 've 'm 'll 'd at p, or 0. Ignoring case also admits U+017F, which folds to s.
size_t contraction(const char* p, const char* end, bool any_case) {
  if (end - p < 2 || *p != '\'') return 0;
  const auto fold = [&](char c) {
    return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
  };
  const char a = fold(p[1]);
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
  if (end - p < 3) return 0;
  if (any_case && p[1] == '\xC5' && p[2] == '\xBF') return 3;
  const char b = fold(p[2]);
  return ((a == 'r' || a == 'v') && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

constexpr CodeRange kHan[] = {
    {0x2E80, 0x2E99},   {0x2E9B, 0x2EF3},   {0x2F00, 0x2FD5},   {0x3005, 0x3005},
    {0x3007, 0x3007},   {0x3021, 0x3029},   {0x3038, 0x303B},   {0x3400, 0x4DBF},
    {0x4E00, 0x9FFF},   {0xF900, 0xFA6D},   {0xFA70, 0xFAD9},   {0x16FE2, 0x16FE3},
    {0x16FF0, 0x16FF1}, {0x20000, 0x2A6DF}, {0x2A700, 0x2B739}, {0x2B740, 0x2B81D},
    {0x2B820, 0x2CEA1}, {0x2CEB0, 0x2EBE0}, {0x2EBF0, 0x2EE5D}, {0x2F800, 0x2FA1D},
    {0x30000, 0x3134A}, {0x31350, 0x323AF},
};
constexpr CharSet kHanSet{0, kHan, false};

const char* skip_set(const char* p, const char* end, const CharSet& set, int max = INT_MAX) {
  for (uint32_t length = 0; p < end && max > 0 && contains(set, p, end, length); --max) p += length;
  return p;
}

constexpr CharMask kUpperSide = kUpper | kTitle | kModifier | kUncased | kMark;
constexpr CharMask kLowerSide = kLower | kModifier | kUncased | kMark;

// A letter of a cased word; Han counts as none where it is kept apart.
MaskedChar word_char(const char* p, const char* end, bool han_apart) {
  MaskedChar c = masked_char(p, end);
  uint32_t length = 0;
  if (han_apart && c.length >= 3 && contains(kHanSet, p, end, length)) c.mask = 0;
  return c;
}

// U* W+ at p: the upper side runs greedily; if no lower side follows, it gives back characters up
// to the last one that is on both sides. Returns the end, or nullptr; `upper_end` gets the end of
// U*.
const char* upper_then_lower(const char* p, const char* end, bool han_apart,
                             const char*& upper_end) {
  const char* both_end = nullptr;
  while (p < end) {
    const MaskedChar c = word_char(p, end, han_apart);
    if ((c.mask & kUpperSide) == 0) break;
    p += c.length;
    if ((c.mask & kLowerSide) != 0) both_end = p;
  }
  upper_end = p;
  while (p < end) {
    const MaskedChar c = word_char(p, end, han_apart);
    if ((c.mask & kLowerSide) == 0) break;
    p += c.length;
  }
  return p > upper_end ? p : both_end;
}

// prefix? U* W+ | prefix? U+ W*, with every way to take or leave the prefix in the regex's order.
const char* cased_word(const char* p, const char* end, const WordRule& rule) {
  const MaskedChar first = masked_char(p, end);
  const char* after = (first.mask & rule.prefix) != 0 ? p + first.length : nullptr;
  const char* upper_after = nullptr;
  const char* upper_here = nullptr;
  if (after != nullptr && after < end) {
    const char* word = upper_then_lower(after, end, rule.han_apart, upper_after);
    if (word != nullptr) return word;
  }
  // A character that is a prefix and no letter cannot begin the word itself.
  if (after == nullptr || (first.mask & kUpperSide) != 0) {
    const char* word = upper_then_lower(p, end, rule.han_apart, upper_here);
    if (word != nullptr) return word;
  }
  if (upper_after != nullptr && upper_after > after) return upper_after;
  if (upper_here != nullptr && upper_here > p) return upper_here;
  return nullptr;
}

// The rest of (?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+ after its first letter: a space goes on only when a
// letter follows, so nothing is ever given back.
const char* skip_phrase(const char* p, const char* end) {
  for (;;) {
    p = skip(p, end, kLetter | kMark);
    if (end - p < 2 || *p != ' ') return p;
    const MaskedChar next = masked_char(p + 1, end);
    if ((next.mask & kLetter) == 0) return p;
    p += 1 + next.length;
  }
}

size_t match_word_letters(const WordRule& rule, const char* p, const char* end, MaskedChar first) {
  const char* word = nullptr;
  if (rule.cased) {
    if ((first.mask & (kLetter | rule.prefix)) != 0) word = cased_word(p, end, rule);
  } else if ((first.mask & rule.letters) != 0) {
    word = skip(p + first.length, end, rule.letters);
  } else if ((first.mask & rule.prefix) != 0) {
    const char* next = p + first.length;
    const char* stop = skip(next, end, rule.letters);
    if (stop > next) word = stop;
  }
  if (word == nullptr) return 0;
  if (rule.phrases) word = skip_phrase(word, end);
  if (rule.contraction_suffix && word < end) word += contraction(word, end, true);
  return static_cast<size_t>(word - p);
}

size_t match_space(const WordRule& rule, const char* p, const char* end) {
  const char* last = p;  // start of the run's last character
  const char* newline = nullptr;
  const char* q = p;
  while (q < end) {
    const MaskedChar c = masked_char(q, end);
    if ((c.mask & kSpace) == 0) break;
    last = q;
    q += c.length;
    if ((c.mask & kNewline) != 0) newline = q;
  }
  if (rule.newline_runs && newline != nullptr)
    q = newline;
  else if (q < end && last > p)
    q = last;
  return static_cast<size_t>(q - p);
}

bool ascii_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

size_t match_words(const WordRule& rule, const char* p, const char* end) {
  using Contractions = WordRule::Contractions;
  if (*p == '\'' && rule.contractions != Contractions::kNone) {
    const size_t n = contraction(p, end, rule.contractions == Contractions::kAnyCase);
    if (n != 0) return n;
  }
  const MaskedChar first = masked_char(p, end);
  const auto since = [&](const char* q) { return static_cast<size_t>(q - p); };
  if (rule.ascii_punct_word && first.length == 1 && (first.mask & (kPunct | kSymbol)) != 0 &&
      static_cast<unsigned char>(*p) < 0x80 && p + 1 < end && ascii_letter(p[1])) {
    const char* q = p + 1;
    while (q < end && ascii_letter(*q)) ++q;
    return since(q);
  }
  if (rule.han_apart && first.length >= 3) {
    const char* q = skip_set(p, end, kHanSet);
    if (q > p) return since(q);
  }
  if (const size_t n = match_word_letters(rule, p, end, first); n != 0) return n;
  const char* next = p + first.length;
  if (rule.max_digits != 0) {
    const char* digits = (first.mask & rule.number_prefix) != 0 ? next : p;
    const char* q = skip(digits, end, kNumber, rule.max_digits);
    if (q > digits) return since(q);
  }
  const char* marks = (first.mask & kBlank) != 0 ? next : p;
  const char* q = skip(marks, end, rule.punct);
  if (q > marks) {
    const auto tail = [&](char c) {
      return (rule.newline_tail && (c == '\r' || c == '\n')) || (rule.slash_tail && c == '/');
    };
    for (int n = 0; n < rule.max_tail && q < end && tail(*q); ++n) ++q;
    return since(q);
  }
  return (first.mask & kSpace) != 0 ? match_space(rule, p, end) : 0;
}

size_t match_run(const RunRule& rule, const char* p, const char* end) {
  const char* start = p;
  if (rule.prefix != 0) {
    const MaskedChar c = masked_char(p, end);
    uint32_t length = 0;
    const char* next = p + c.length;
    if ((c.mask & rule.prefix) != 0 && next < end && contains(rule.set, next, end, length)) {
      start = next;
    }
  }
  int count = 0;
  const char* q = start;
  for (uint32_t length = 0; q < end && count < rule.max && contains(rule.set, q, end, length);) {
    q += length;
    ++count;
  }
  return count >= rule.min ? static_cast<size_t>(q - p) : 0;
}

size_t match_indent(const char* p, const char* end) {
  if (*p == '\t' || *p == '\n') return 1;
  const std::string_view rest(p, static_cast<size_t>(end - p));
  return rest.starts_with("    ") ? 4 : rest.starts_with("  ") ? 2 : 0;
}

// An image token of Chameleon, IMGIMG and one to four letters A to I and Z.
size_t match_image_name(const char* p, const char* end) {
  const std::string_view rest(p, static_cast<size_t>(end - p));
  if (!rest.starts_with("IMGIMG")) return 0;
  const size_t last = rest.find_first_not_of("ABCDEFGHI", 6);
  if (last == std::string_view::npos || rest[last] != 'Z' || last < 7 || last > 10) return 0;
  return last + 1;
}

// What \w means to the regular expression engine of the published tokenizers: letters, marks,
// decimal digits, connectors, letter numbers, circled letters, and the raised digits and fractions
// of Latin-1.
bool is_word_character(const char* p, const char* end) {
  constexpr CodeRange kConnectors[] = {
      {'_', '_'},         {0xB2, 0xB3},       {0xB9, 0xB9},      {0xBC, 0xBE},     {0x203F, 0x2040},
      {0x2054, 0x2054},   {0x24B6, 0x24E9},   {0xFE33, 0xFE34},  {0xFE4D, 0xFE4F}, {0xFF3F, 0xFF3F},
      {0x1F130, 0x1F149}, {0x1F150, 0x1F169}, {0x1F170, 0x1F189}};
  uint32_t length = 0;
  return contains({kLetter | kMark | kDigit | kLetterNumber, kConnectors, false}, p, end, length);
}

size_t trailing_space(std::string_view text) {
  const char* end = text.data() + text.size();
  const char* back = end;
  while (back > text.data()) {
    const char* q = back - 1;
    while (q > text.data() && (static_cast<unsigned char>(*q) & 0xC0) == 0x80) --q;
    const MaskedChar c = masked_char(q, end);
    if ((c.mask & kSpace) == 0 || q + c.length != back) break;
    back = q;
  }
  return static_cast<size_t>(end - back);
}

}  // namespace

size_t match_stage(const Stage& stage, const char* p, const char* end) {
  switch (stage.kind) {
    case Stage::Kind::kWords:
      return match_words(stage.words, p, end);
    case Stage::Kind::kRun:
      return match_run(stage.run, p, end);
    case Stage::Kind::kIndent:
      return match_indent(p, end);
    case Stage::Kind::kImageName:
      return match_image_name(p, end);
    default:
      return 0;  // see piece_cuts()
  }
}

void piece_cuts(const Stage& stage, std::string_view text, std::vector<size_t>& cuts) {
  cuts.clear();
  if (stage.kind == Stage::Kind::kTrailingSpace) {
    cuts.push_back(text.size() - trailing_space(text));
    return;
  }
  const bool numbers = stage.kind == Stage::Kind::kNumberTriples;
  const char* end = text.data() + text.size();
  std::vector<size_t> digits;  // offsets of one run of digits
  const char* p = text.data();
  while (p < end) {
    digits.clear();
    for (; p < end; p += masked_char(p, end).length) {
      if ((masked_char(p, end).mask & kDigit) == 0) break;
      digits.push_back(static_cast<size_t>(p - text.data()));
    }
    const bool word_goes_on = p < end && is_word_character(p, end);
    if (!digits.empty() && !(numbers && word_goes_on)) {
      if (numbers) cuts.push_back(digits[0]);
      for (size_t i = digits.size() % 3; i < digits.size(); i += 3) cuts.push_back(digits[i]);
      if (numbers) cuts.push_back(static_cast<size_t>(p - text.data()));
    }
    if (p < end) p += masked_char(p, end).length;
  }
}

}  // namespace serval
