// Framing of server-sent events (WHATWG HTML, section 9.2).
#pragma once

#include <string>
#include <string_view>

namespace serval {

// REQUIRES: `data` holds no line break (JSON on one line).
inline std::string sse_event(std::string_view data) {
  std::string out;
  out.reserve(data.size() + 8);
  out += "data: ";
  out += data;
  out += "\n\n";
  return out;
}

inline constexpr std::string_view kSsePing = ": ping\n\n";
inline constexpr std::string_view kSseDone = "data: [DONE]\n\n";

}  // namespace serval
