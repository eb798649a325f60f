// The character classes that pre-tokenizers speak of, over UTF-8. Stateless, thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/utf8.h"

namespace serval {

// Every code point has exactly one of these bits. White space is told apart from the general
// category because the split rules treat U+0020, line ends and the rest differently.
using CharMask = uint16_t;
constexpr CharMask kUpper = 1 << 0;          // Lu
constexpr CharMask kLower = 1 << 1;          // Ll
constexpr CharMask kTitle = 1 << 2;          // Lt
constexpr CharMask kModifier = 1 << 3;       // Lm
constexpr CharMask kUncased = 1 << 4;        // Lo
constexpr CharMask kMark = 1 << 5;           // M*
constexpr CharMask kDigit = 1 << 6;          // Nd
constexpr CharMask kPunct = 1 << 7;          // P*
constexpr CharMask kSymbol = 1 << 8;         // S*; also bytes that are not UTF-8
constexpr CharMask kBlank = 1 << 9;          // U+0020
constexpr CharMask kNewline = 1 << 10;       // \r \n
constexpr CharMask kOtherSpace = 1 << 11;    // the rest of White_Space
constexpr CharMask kOther = 1 << 12;         // C*, unassigned
constexpr CharMask kLetterNumber = 1 << 13;  // Nl
constexpr CharMask kOtherNumber = 1 << 14;   // No

constexpr CharMask kLetter = kUpper | kLower | kTitle | kModifier | kUncased;
constexpr CharMask kNumber = kDigit | kLetterNumber | kOtherNumber;
constexpr CharMask kSpace = kBlank | kNewline | kOtherSpace;

CharMask char_mask(uint32_t code);

extern const CharMask kAsciiMasks[128];

struct MaskedChar {
  CharMask mask;
  uint32_t length;
};
inline MaskedChar masked_char(const char* p, const char* end) {
  const auto byte = static_cast<unsigned char>(*p);
  if (byte < 0x80) return {kAsciiMasks[byte], 1};
  const Utf8Step c = decode_utf8({p, static_cast<size_t>(end - p)});
  return {c.valid ? char_mask(c.code_point) : kSymbol, static_cast<uint32_t>(c.length)};
}

}  // namespace serval
