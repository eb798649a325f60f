// Pre-tokenizers: how a byte-level BPE family cuts text into words before merging. Each family is a
// row of a table: a few stages, applied one inside the other, and flags. A stage is a hand-written
// linear matcher for one shape of published regular expression; what it does not match stays as a
// piece.
#pragma once

#include <climits>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "text/unicode.h"

namespace serval {

struct CodeRange {
  uint32_t first, last;
};

// Members: characters of the mask or in a range; negated: all others.
struct CharSet {
  CharMask mask = 0;
  std::span<const CodeRange> ranges;
  bool negated = false;
};

// The GPT-2 line of patterns, alternatives in this order (each may be absent):
//   contraction | prefix? letters+ contraction? | number_prefix? \p{N}{1,max} | ' '? punct+ tail*
//   | \s*[\r\n]+ | \s+(?!\S) | \s+
struct WordRule {
  enum class Contractions : uint8_t { kNone, kLowerCase, kAnyCase };
  Contractions contractions = Contractions::kNone;  // 's 't 're 've 'm 'll 'd
  bool contraction_suffix = false;                  // the same (any case), after a word
  CharMask prefix = kBlank;                         // at most one, before letters
  CharMask letters = kLetter;
  bool phrases = false;           // a word is \p{L}\p{M}*, more of them, also after a single space
  bool cased = false;             // o200k: a word is upper* lower+ or upper+ lower*; marks are both
  bool han_apart = false;         // runs of Han are words, and not letters
  bool ascii_punct_word = false;  // first alternative [ascii punctuation][A-Za-z]+
  CharMask number_prefix = 0;
  int max_digits = 0;  // 0: no such alternative
  CharMask punct = kMark | kPunct | kSymbol | kOther;
  bool newline_tail = false, slash_tail = false;  // punct+ takes [\r\n]* or [\r\n/]* along
  int max_tail = INT_MAX;                         // at most so many of them
  bool newline_runs = false;                      // \s*[\r\n]+
};

// prefix? set{min,max}
struct RunRule {
  CharSet set;
  CharMask prefix = 0;
  int min = 1, max = INT_MAX;
};

struct Stage {
  enum class Kind : uint8_t {
    kWords,
    kRun,
    kIndent,         // [\t\n]|    |  (four or two spaces)
    kImageName,      // IMGIMG[A-I]{1,4}Z
    kTrailingSpace,  // \s+$
    kDigitTriples,   // (?=(\d{3})+(?!\d)): threes counted from the right, 1 234 567
    kNumberTriples,  // \d{1,3}(?=(\d{3})*\b): the same, for numbers that no word goes on
  };
  Kind kind = Kind::kWords;
  WordRule words;
  RunRule run;
};

struct PreTokenizer {
  enum Flag : uint8_t {
    kIgnoreMerges = 1,  // a word that is a token is that token, whatever the merges say
    kAddBos = 2,        // when the file does not say
    kAddSep = 4,
    kNoBos = 8,          // the family has no BOS even if the file names one
    kEscapeSpaces = 16,  // gemma4: U+2581 for spaces, no byte alphabet
  };
  std::string_view names;  // values of tokenizer.ggml.pre, separated by spaces
  std::span<const Stage> stages;
  uint8_t flags = 0;

  bool has(Flag flag) const { return (flags & flag) != 0; }

  // The row for a `tokenizer.ggml.pre` value; nullptr when unknown.
  static const PreTokenizer* find(std::string_view name);
  static std::span<const PreTokenizer> all();
};

// Kinds before kTrailingSpace: bytes matched at p, 0 for none. REQUIRES: p < end, at a character
// border.
size_t match_stage(const Stage& stage, const char* p, const char* end);
// The other kinds look at a whole piece: the ascending offsets where it is cut.
void piece_cuts(const Stage& stage, std::string_view text, std::vector<size_t>& cuts);

// Calls emit(std::string_view) for each word of `text`, in order; together they are the text.
template <typename Emit>
void for_each_word(std::span<const Stage> stages, std::string_view text, Emit&& emit) {
  if (text.empty()) return;
  if (stages.empty()) {
    emit(text);
    return;
  }
  const auto inner = stages.subspan(1);
  if (stages[0].kind >= Stage::Kind::kTrailingSpace) {
    std::vector<size_t> cuts;
    piece_cuts(stages[0], text, cuts);
    size_t begin = 0;
    for (const size_t cut : cuts) {
      for_each_word(inner, text.substr(begin, cut - begin), emit);
      begin = cut;
    }
    for_each_word(inner, text.substr(begin), emit);
    return;
  }
  const char* end = text.data() + text.size();
  const char* unmatched = text.data();
  for (const char* p = unmatched; p < end;) {
    const size_t n = match_stage(stages[0], p, end);
    if (n == 0) {
      p += masked_char(p, end).length;
      continue;
    }
    if (unmatched < p) for_each_word(inner, {unmatched, p}, emit);
    for_each_word(inner, {p, p + n}, emit);
    unmatched = p += n;
  }
  if (unmatched < end) for_each_word(inner, {unmatched, end}, emit);
}

}  // namespace serval
