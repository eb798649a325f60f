// What both of Python's ways to format share: a conversion's specification, digits and padding.
#pragma once

#include <cstdint>
#include <string>

#include "text/chat/marked_text.h"

namespace serval::chat {

inline constexpr int64_t kMaxFormatWidth = 1 << 20;

struct FormatSpec {
  std::string fill = " ";
  bool fill_trusted = true;  // the specification may itself be formatted from outside data
  char align = 0;            // < > ^ =
  char sign = '-';
  bool alternate = false;
  bool zero = false;
  char group = 0;
  int64_t width = 0;
  int64_t precision = -1;
  char type = 0;
};

// |value| in the float presentation `type`; Python spells exponents as C does.
std::string float_digits(double value, char type, int64_t precision, bool alternate);
std::string integer_digits(uint64_t magnitude, char type, bool alternate);
uint64_t magnitude(int64_t value);
std::string sign_of(bool negative, char sign);
// Appends `body` in the specification's width.
void pad(MarkedText& out, const MarkedText& body, const FormatSpec& spec, char default_align);
// Sign and digits, with zeros between them when asked.
void pad_number(MarkedText& out, std::string sign, const std::string& digits, FormatSpec spec,
                bool trusted);

}  // namespace serval::chat
