// Code points: decoding, Python's character classes and full case mapping.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "text/chat/marked_text.h"

namespace serval::chat {

// Bytes of the code point that starts at `offset` (1 for a stray byte). REQUIRES: offset < size.
size_t char_bytes(std::string_view text, size_t offset);
// The code point there; U+FFFD for a stray byte.
char32_t decode_at(std::string_view text, size_t offset);
size_t previous(std::string_view text, size_t offset);  // start of the code point before `offset`
int64_t count_chars(std::string_view text);
// Byte offset of code point `index`, or size() beyond the end.
size_t byte_offset(std::string_view text, bool ascii, int64_t index);
void append_utf8(std::string& out, char32_t code);

bool is_space(char32_t c);       // str.isspace, \s
bool is_line_break(char32_t c);  // str.splitlines
bool is_alpha(char32_t c);
bool is_decimal(char32_t c);  // category Nd
bool is_digit(char32_t c);    // Nd and superscripts and the like
bool is_numeric(char32_t c);
bool is_alnum(char32_t c);
bool is_lower(char32_t c);
bool is_upper(char32_t c);
bool is_title(char32_t c);
bool is_printable(char32_t c);

enum class Case { kLower, kUpper, kTitle };
// str.lower(), str.upper(), str.capitalize(), str.title(), str.swapcase()
MarkedText to_case(const MarkedText& text, Case which);
MarkedText capitalize(const MarkedText& text);
MarkedText title(const MarkedText& text);
MarkedText swap_case(const MarkedText& text);

size_t strip_start(std::string_view text, std::string_view chars, bool any_space);
size_t strip_end(std::string_view text, size_t begin, std::string_view chars, bool any_space);

// Linear-time search; npos when absent.
size_t find_text(std::string_view text, std::string_view what, size_t from = 0);
size_t rfind_text(std::string_view text, std::string_view what);

}  // namespace serval::chat
