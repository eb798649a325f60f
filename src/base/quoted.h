// Shows outside bytes inside a one-line message: printable, bounded, never able to forge a line.
#pragma once

#include <string>
#include <string_view>

namespace serval {

inline std::string quoted(std::string_view text, size_t limit = 80) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text.substr(0, limit)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7F && c != '"' && c != '\\') {
      out += c;
    } else {
      out += "\\x";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    }
  }
  out += text.size() > limit ? "...\"" : "\"";
  return out;
}

}  // namespace serval
