// Case mapping follows the Unicode Character Database as Python's str does: simple mappings from
// utf8proc, the multi-character ones from special_casing.inc, and the final sigma rule
// (Unicode 3.13, table 3-17). Mapped characters keep the trust of the character they came from.
#include "text/chat/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstring>
#include <iterator>

namespace serval::chat {
namespace {

struct SpecialCase {
  char32_t code;
  const char* upper;
  const char* title;
};
constexpr SpecialCase kSpecialCases[] = {
#include "text/chat/special_casing.inc"
};

const SpecialCase* special_case(char32_t c) {
  const auto* end = std::end(kSpecialCases);
  const auto* found = std::lower_bound(std::begin(kSpecialCases), end, c,
                                       [](const SpecialCase& a, char32_t b) { return a.code < b; });
  return found != end && found->code == c ? found : nullptr;
}

utf8proc_category_t category(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

bool is_cased(char32_t c) { return is_lower(c) || is_upper(c) || is_title(c); }

bool is_case_ignorable(char32_t c) {
  if (c == '\'' || c == '.' || c == ':' || c == '^' || c == '`' || c == 0xB7 || c == 0x2019) {
    return true;
  }
  switch (category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default:
      return false;
  }
}

bool is_final_sigma(std::string_view text, size_t offset) {
  constexpr int kReach = 64;  // ignorable characters looked across, each way
  size_t at = offset;
  bool before = false;
  for (int i = 0; i < kReach && at > 0; ++i) {
    at = previous(text, at);
    const char32_t c = decode_at(text, at);
    if (is_case_ignorable(c)) continue;
    before = is_cased(c);
    break;
  }
  if (!before) return false;
  at = offset + char_bytes(text, offset);
  for (int i = 0; i < kReach && at < text.size(); ++i, at += char_bytes(text, at)) {
    const char32_t c = decode_at(text, at);
    if (!is_case_ignorable(c)) return !is_cased(c);
  }
  return true;
}

std::string mapped(std::string_view text, size_t offset, char32_t c, Case which) {
  std::string out;
  const auto code = static_cast<utf8proc_int32_t>(c);
  if (which == Case::kLower) {
    if (c == 0x130) return "i\u0307";
    if (c == 0x3A3) return is_final_sigma(text, offset) ? "\u03c2" : "\u03c3";
    append_utf8(out, static_cast<char32_t>(utf8proc_tolower(code)));
    return out;
  }
  if (const SpecialCase* row = special_case(c)) {
    return which == Case::kUpper ? row->upper : row->title;
  }
  append_utf8(out, static_cast<char32_t>(which == Case::kUpper ? utf8proc_toupper(code)
                                                               : utf8proc_totitle(code)));
  return out;
}

// Applies `choose(code point, offset)` to every character.
template <typename Choose>
MarkedText map_case(const MarkedText& text, Choose choose) {
  MarkedText out;
  out.reserve(text.size());
  const std::string_view bytes = text.view();
  for (size_t i = 0; i < bytes.size();) {
    const size_t n = char_bytes(bytes, i);
    const auto byte = static_cast<unsigned char>(bytes[i]);
    const Case which = choose(decode_at(bytes, i), i);
    if (byte < 0x80) {
      char c = bytes[i];
      if (which == Case::kLower && c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
      if (which != Case::kLower && c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
      out.append(std::string_view(&c, 1), text.trusted_at(i));
    } else if (n == 1) {
      out.append(bytes.substr(i, 1), text.trusted_at(i));  // a stray byte
    } else {
      out.append(mapped(bytes, i, decode_at(bytes, i), which), text.trusted_at(i));
    }
    i += n;
  }
  return out;
}

}  // namespace

size_t char_bytes(std::string_view text, size_t offset) {
  const auto lead = static_cast<unsigned char>(text[offset]);
  size_t n = 1;
  if (lead >= 0xF0 && lead < 0xF8) {
    n = 4;
  } else if (lead >= 0xE0 && lead < 0xF0) {
    n = 3;
  } else if (lead >= 0xC2 && lead < 0xE0) {
    n = 2;
  }
  if (n > text.size() - offset) return 1;
  for (size_t i = 1; i < n; ++i) {
    if ((static_cast<unsigned char>(text[offset + i]) & 0xC0) != 0x80) return 1;
  }
  return n;
}

char32_t decode_at(std::string_view text, size_t offset) {
  const size_t n = char_bytes(text, offset);
  const auto byte = [&](size_t i) {
    return static_cast<char32_t>(static_cast<unsigned char>(text[offset + i]));
  };
  if (n == 1) return byte(0) < 0x80 ? byte(0) : 0xFFFD;
  if (n == 2) return (byte(0) & 0x1F) << 6 | (byte(1) & 0x3F);
  if (n == 3) return (byte(0) & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
  return (byte(0) & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
}

size_t previous(std::string_view text, size_t offset) {
  for (size_t n = 1; n <= 4 && n <= offset; ++n) {
    if ((static_cast<unsigned char>(text[offset - n]) & 0xC0) != 0x80) {
      return char_bytes(text, offset - n) == n ? offset - n : offset - 1;
    }
  }
  return offset - 1;
}

int64_t count_chars(std::string_view text) {
  int64_t count = 0;
  for (size_t i = 0; i < text.size(); ++count) {
    i += static_cast<unsigned char>(text[i]) < 0x80 ? 1 : char_bytes(text, i);
  }
  return count;
}

size_t byte_offset(std::string_view text, bool ascii, int64_t index) {
  if (ascii) return std::min(static_cast<size_t>(index), text.size());
  size_t at = 0;
  for (; index > 0 && at < text.size(); --index) at += char_bytes(text, at);
  return at;
}

void append_utf8(std::string& out, char32_t code) {
  utf8proc_uint8_t bytes[4];
  const auto n = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code), bytes);
  out.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(n));
}

bool is_space(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x1F);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_line_break(char32_t c) {
  return (c >= 10 && c <= 13) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

bool is_alpha(char32_t c) {
  if (c < 0x80) return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  const auto k = category(c);
  return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}

bool is_decimal(char32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9';
  return category(c) == UTF8PROC_CATEGORY_ND;
}

bool is_digit(char32_t c) {
  if (is_decimal(c)) return true;
  constexpr char32_t kRanges[][2] = {
      {0xB2, 0xB3},       {0xB9, 0xB9},       {0x1369, 0x1371},   {0x19DA, 0x19DA},
      {0x2070, 0x2070},   {0x2074, 0x2079},   {0x2080, 0x2089},   {0x2460, 0x2468},
      {0x2474, 0x247C},   {0x2488, 0x2490},   {0x24EA, 0x24EA},   {0x24F5, 0x24FD},
      {0x24FF, 0x24FF},   {0x2776, 0x277E},   {0x2780, 0x2788},   {0x278A, 0x2792},
      {0x10A40, 0x10A43}, {0x10E60, 0x10E68}, {0x11052, 0x1105A}, {0x1F100, 0x1F10A}};
  return std::any_of(std::begin(kRanges), std::end(kRanges),
                     [c](const auto& r) { return c >= r[0] && c <= r[1]; });
}

bool is_numeric(char32_t c) {
  if (is_digit(c)) return true;
  const auto k = c < 0x80 ? UTF8PROC_CATEGORY_CN : category(c);
  return k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
}

bool is_alnum(char32_t c) { return is_alpha(c) || is_numeric(c); }

bool is_lower(char32_t c) {
  if (c < 0x80) return c >= 'a' && c <= 'z';
  const auto k = category(c);
  if (k == UTF8PROC_CATEGORY_LL || c == 0xAA || c == 0xBA) return true;
  const bool other = k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_SO;
  return other && utf8proc_toupper(static_cast<utf8proc_int32_t>(c)) != static_cast<int32_t>(c);
}

bool is_upper(char32_t c) {
  if (c < 0x80) return c >= 'A' && c <= 'Z';
  const auto k = category(c);
  if (k == UTF8PROC_CATEGORY_LU) return true;
  const bool other = k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_SO;
  return other && utf8proc_tolower(static_cast<utf8proc_int32_t>(c)) != static_cast<int32_t>(c);
}

bool is_title(char32_t c) { return c >= 0x80 && category(c) == UTF8PROC_CATEGORY_LT; }

bool is_printable(char32_t c) {
  if (c < 0x80) return c >= 0x20 && c != 0x7F;
  switch (category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

MarkedText to_case(const MarkedText& text, Case which) {
  return map_case(text, [which](char32_t, size_t) { return which; });
}

MarkedText capitalize(const MarkedText& text) {
  return map_case(text, [](char32_t, size_t i) { return i == 0 ? Case::kTitle : Case::kLower; });
}

MarkedText title(const MarkedText& text) {
  bool inside = false;
  return map_case(text, [&inside](char32_t c, size_t) {
    const Case which = inside ? Case::kLower : Case::kTitle;
    inside = is_cased(c);
    return which;
  });
}

MarkedText swap_case(const MarkedText& text) {
  return map_case(text,
                  [](char32_t c, size_t) { return is_upper(c) ? Case::kLower : Case::kUpper; });
}

namespace {
bool in_set(std::string_view text, size_t offset, std::string_view chars, bool any_space) {
  if (any_space) return is_space(decode_at(text, offset));
  const std::string_view one = text.substr(offset, char_bytes(text, offset));
  for (size_t i = 0; i < chars.size(); i += char_bytes(chars, i)) {
    if (chars.substr(i, char_bytes(chars, i)) == one) return true;
  }
  return false;
}
}  // namespace

size_t strip_start(std::string_view text, std::string_view chars, bool any_space) {
  size_t at = 0;
  while (at < text.size() && in_set(text, at, chars, any_space)) at += char_bytes(text, at);
  return at;
}

size_t strip_end(std::string_view text, size_t begin, std::string_view chars, bool any_space) {
  size_t at = text.size();
  while (at > begin) {
    const size_t before = previous(text, at);
    if (!in_set(text, before, chars, any_space)) break;
    at = before;
  }
  return at;
}

size_t find_text(std::string_view text, std::string_view what, size_t from) {
  if (from > text.size()) return std::string_view::npos;
  if (what.empty()) return from;
  const void* found = memmem(text.data() + from, text.size() - from, what.data(), what.size());
  return found ? static_cast<size_t>(static_cast<const char*>(found) - text.data())
               : std::string_view::npos;
}

size_t rfind_text(std::string_view text, std::string_view what) {
  const std::string text_back(text.rbegin(), text.rend());
  const std::string what_back(what.rbegin(), what.rend());
  const size_t at = find_text(text_back, what_back);
  return at == std::string_view::npos ? at : text.size() - at - what.size();
}

}  // namespace serval::chat
