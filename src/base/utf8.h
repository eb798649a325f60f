// UTF-8, strictly as RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace serval {

// One decoding step. For an ill-formed sequence `valid` is false, `code_point` is U+FFFD and
// `length` covers its maximal well-formed prefix (at least 1), as the Unicode standard recommends
// for replacement.
struct Utf8Step {
  char32_t code_point = 0xFFFD;
  size_t length = 1;
  bool valid = false;
  bool truncated = false;  // not valid, but more bytes at the end of the text could make it so
};

// REQUIRES: !text.empty()
inline Utf8Step decode_utf8(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = byte(0);
  if (first < 0x80) return {first, 1, true, false};
  size_t length = 0;
  char32_t value = 0;
  unsigned low = 0x80;   // allowed range of the second byte: this is where overlong forms,
  unsigned high = 0xBF;  // surrogates and values above U+10FFFF are excluded
  if (first >= 0xC2 && first <= 0xDF) {
    length = 2;
    value = first & 0x1F;
  } else if (first >= 0xE0 && first <= 0xEF) {
    length = 3;
    value = first & 0x0F;
    if (first == 0xE0) low = 0xA0;
    if (first == 0xED) high = 0x9F;
  } else if (first >= 0xF0 && first <= 0xF4) {
    length = 4;
    value = first & 0x07;
    if (first == 0xF0) low = 0x90;
    if (first == 0xF4) high = 0x8F;
  } else {
    return {};
  }
  for (size_t i = 1; i < length; ++i) {
    if (i == text.size()) return {0xFFFD, i, false, true};
    const unsigned next = byte(i);
    if (next < low || next > high) return {0xFFFD, i, false, false};
    value = (value << 6) | (next & 0x3F);
    low = 0x80;
    high = 0xBF;
  }
  return {value, length, true, false};
}

// Appends a code point; surrogates and values above U+10FFFF become U+FFFD.
inline void append_utf8(std::string& out, char32_t c) {
  if (c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) c = 0xFFFD;
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | (c >> 6));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | (c >> 12));
    out += static_cast<char>(0x80 | ((c >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | (c >> 18));
    out += static_cast<char>(0x80 | ((c >> 12) & 0x3F));
    out += static_cast<char>(0x80 | ((c >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  }
}

// Bytes of the longest valid prefix; text.size() when all of it is valid.
inline size_t valid_utf8_prefix(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    if (static_cast<unsigned char>(text[at]) < 0x80) {
      ++at;
      continue;
    }
    const Utf8Step step = decode_utf8(text.substr(at));
    if (!step.valid) return at;
    at += step.length;
  }
  return at;
}

inline bool is_valid_utf8(std::string_view text) { return valid_utf8_prefix(text) == text.size(); }

// Valid text: every ill-formed sequence becomes U+FFFD.
inline std::string replace_invalid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const size_t good = valid_utf8_prefix(text);
    out.append(text.substr(0, good));
    text.remove_prefix(good);
    if (text.empty()) break;
    text.remove_prefix(decode_utf8(text).length);
    append_utf8(out, 0xFFFD);
  }
  return out;
}

}  // namespace serval
