// Strict framing (RFC 9112) of a request head. Beast parses; this refuses what Beast forgives and
// what request smuggling lives on: a bare LF or CR, folded fields, a space before the colon, two
// lengths, two hosts, codings we do not speak.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

#include "server/http/limits.h"

namespace serval {

struct HeadRefusal {
  int status = 400;
  std::string_view reason;                    // a fixed text for the client
  std::optional<Limit> limit = std::nullopt;  // the one that was met
};

// Looks at the bytes received so far. Sets `head_size` (blank line included) once the head is
// complete; before that it stays 0 and only what is already certainly wrong is refused.
std::optional<HeadRefusal> screen_head(std::string_view bytes, const HttpLimits& limits,
                                       size_t& head_size);

}  // namespace serval
