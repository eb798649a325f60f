#include "text/chat/format_spec.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "text/chat/budget.h"
#include "text/chat/unicode.h"

namespace serval::chat {

std::string float_digits(double value, char type, int64_t precision, bool alternate) {
  if (std::isnan(value)) return type >= 'A' && type <= 'Z' ? "NAN" : "nan";
  if (std::isinf(value)) return type >= 'A' && type <= 'Z' ? "INF" : "inf";
  if (precision > 1000) fail_limit("the precision is too large");
  char buffer[2048];
  const std::string pattern = std::string("%") + (alternate ? "#" : "") + ".*" + type;
  const int size = std::snprintf(buffer, sizeof(buffer), pattern.c_str(),
                                 static_cast<int>(precision < 0 ? 6 : precision), value);
  return std::string(buffer, static_cast<size_t>(std::clamp(size, 0, 2047)));
}

std::string integer_digits(uint64_t magnitude, char type, bool alternate) {
  const int base = type == 'x' || type == 'X' ? 16 : (type == 'o' ? 8 : (type == 'b' ? 2 : 10));
  char buffer[72];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), magnitude, base);
  std::string digits(buffer, end.ptr);
  if (type == 'X') {
    std::transform(digits.begin(), digits.end(), digits.begin(),
                   [](char c) { return c >= 'a' ? static_cast<char>(c - 32) : c; });
  }
  if (alternate && base != 10) digits.insert(0, std::string{'0', type});
  return digits;
}

uint64_t magnitude(int64_t value) {
  return value < 0 ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
}

void pad(MarkedText& out, const MarkedText& body, const FormatSpec& spec, char default_align) {
  const int64_t missing = spec.width - count_chars(body.view());
  const char align = spec.align ? spec.align : default_align;
  int64_t left = 0;
  if (missing > 0) left = align == '^' ? missing / 2 : (align == '<' ? 0 : missing);
  for (int64_t i = 0; i < left; ++i) out.append(spec.fill, spec.fill_trusted);
  out.append(body);
  for (int64_t i = left; i < missing; ++i) out.append(spec.fill, spec.fill_trusted);
}

void pad_number(MarkedText& out, std::string sign, const std::string& digits, FormatSpec spec,
                bool trusted) {
  if (spec.zero && !spec.align) {
    spec.align = '=';
    spec.fill = "0";
  }
  if (spec.align == '=') {
    const int64_t missing = spec.width - static_cast<int64_t>(sign.size() + digits.size());
    for (int64_t i = 0; i < missing; ++i) sign += spec.fill;
    trusted = trusted && spec.fill_trusted;
  }
  pad(out, MarkedText(sign + digits, trusted), spec, '>');
}

std::string sign_of(bool negative, char sign) {
  if (negative) return "-";
  return sign == '+' ? "+" : (sign == ' ' ? " " : "");
}

}  // namespace serval::chat
