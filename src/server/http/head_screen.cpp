// One pass over the lines. The bytes are looked at again with every read, which is bounded by the
// head's limit and in practice happens once: clients send heads in one packet.
#include "server/http/head_screen.h"

#include <algorithm>
#include <cctype>

namespace serval {
namespace {

constexpr size_t kLongestMethod = 32;

bool same_name(std::string_view a, std::string_view lower) {
  return a.size() == lower.size() &&
         std::equal(a.begin(), a.end(), lower.begin(), [](char x, char y) {
           return std::tolower(static_cast<unsigned char>(x)) == y;
         });
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

struct FieldCounts {
  size_t total = 0, hosts = 0, lengths = 0, codings = 0;
};

// "HTTP/" digit "." digit; which digits is another question (505).
bool is_version(std::string_view text) {
  constexpr std::string_view kName = "HTTP/";
  const auto digit = [&](size_t at) { return text[at] >= '0' && text[at] <= '9'; };
  return text.size() == 8 && text.starts_with(kName) && digit(5) && text[6] == '.' && digit(7);
}

std::optional<HeadRefusal> screen_request_line(std::string_view line, const HttpLimits& limits) {
  const size_t first = line.find(' ');
  const size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last || first > kLongestMethod) {
    return HeadRefusal{400, "the request line is malformed"};
  }
  const std::string_view target = line.substr(first + 1, last - first - 1);
  if (!is_version(line.substr(last + 1)) || target.find(' ') != std::string_view::npos) {
    return HeadRefusal{400, "the request line is malformed"};
  }
  if (target.size() > limits.target_bytes)
    return HeadRefusal{414, "the target is too long", Limit::kTargetBytes};
  return std::nullopt;
}

std::optional<HeadRefusal> screen_field(std::string_view line, const HttpLimits& limits,
                                        FieldCounts& counts) {
  if (line.front() == ' ' || line.front() == '\t') {
    return HeadRefusal{400, "a header field is folded over two lines"};
  }
  if (++counts.total > limits.fields) {
    return HeadRefusal{431, "there are too many header fields", Limit::kFields};
  }
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || colon == 0) {
    return HeadRefusal{400, "a header field is malformed"};
  }
  const std::string_view name = line.substr(0, colon);
  const std::string_view value = trim(line.substr(colon + 1));
  if (same_name(name, "host")) {
    ++counts.hosts;
  } else if (same_name(name, "content-length")) {
    ++counts.lengths;
    const bool digits =
        !value.empty() && value.size() <= 18 &&
        std::all_of(value.begin(), value.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (!digits) return HeadRefusal{400, "Content-Length is not a number"};
  } else if (same_name(name, "transfer-encoding")) {
    ++counts.codings;
    if (!same_name(value, "chunked")) {
      return HeadRefusal{400, "the only transfer coding understood is chunked"};
    }
  }
  if (counts.hosts > 1) return HeadRefusal{400, "there is more than one Host field"};
  if (counts.lengths + counts.codings > 1) {
    return HeadRefusal{400, "the length of the body is given more than once"};
  }
  return std::nullopt;
}

// A CR belongs before an LF and nowhere else, and the other way round.
bool has_bare_line_break(std::string_view bytes) {
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] == '\n' && (i == 0 || bytes[i - 1] != '\r')) return true;
    if (bytes[i] == '\r' && i + 1 < bytes.size() && bytes[i + 1] != '\n') return true;
    if (bytes[i] == '\0') return true;
  }
  return false;
}

}  // namespace

std::optional<HeadRefusal> screen_head(std::string_view bytes, const HttpLimits& limits,
                                       size_t& head_size) {
  head_size = 0;
  const size_t end = bytes.find("\r\n\r\n");
  const bool complete = end != std::string_view::npos;
  const std::string_view head = complete ? bytes.substr(0, end + 4) : bytes;
  if (has_bare_line_break(head)) {
    return HeadRefusal{400, "a line of the head does not end in CR LF"};
  }
  if (head.find("\r\n") == std::string_view::npos &&
      head.size() > limits.target_bytes + kLongestMethod + sizeof(" HTTP/1.1") + 1) {
    return HeadRefusal{414, "the target is too long", Limit::kTargetBytes};
  }
  FieldCounts counts;
  std::string_view rest = head;
  for (bool request_line = true; !rest.empty(); request_line = false) {
    const size_t size = rest.find("\r\n");
    if (size == std::string_view::npos || size == 0) break;
    const std::string_view line = rest.substr(0, size);
    const auto refusal =
        request_line ? screen_request_line(line, limits) : screen_field(line, limits, counts);
    if (refusal) return refusal;
    rest.remove_prefix(size + 2);
  }
  if (head.size() > limits.head_bytes)
    return HeadRefusal{431, "the head is too large", Limit::kHeadBytes};
  if (complete) head_size = head.size();
  return std::nullopt;
}

}  // namespace serval
