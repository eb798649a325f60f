#include "server/monitor/excerpt.h"

#include "base/utf8.h"

namespace serval {
namespace {

bool is_blank(char32_t c) {
  const bool control = c <= 0x20 || (c >= 0x7F && c <= 0xA0);
  const bool separator =
      c == 0x1680 || (c >= 0x2000 && c <= 0x200F) || (c >= 0x2028 && c <= 0x202F);
  const bool invisible = c == 0x061C || (c >= 0x205F && c <= 0x206F) || c == 0x3000 || c == 0xFEFF;
  return control || separator || invisible || (c >= 0xE0000 && c <= 0xE007F);  // tags
}

size_t count_characters(std::string_view text) {
  size_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xC0) != 0x80 ? 1 : 0;
  return count;
}

}  // namespace

bool extend_excerpt(std::string& excerpt, std::string_view text, size_t most) {
  size_t length = count_characters(excerpt);
  while (!text.empty() && length < most) {
    const Utf8Step step = decode_utf8(text);
    text.remove_prefix(step.length);
    const bool blank = is_blank(step.code_point);
    if (blank && (excerpt.empty() || excerpt.back() == ' ')) continue;
    append_utf8(excerpt, blank ? U' ' : step.code_point);
    ++length;
  }
  return length < most;
}

}  // namespace serval
