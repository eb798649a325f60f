// The beginning of a text on one line, for those who may see texts.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace serval {

// Appends to `excerpt`, which has at most `most` characters (code points). White space, control
// characters and those that turn the direction of writing become single spaces: what a client wrote
// must not reach into the line around it. False: it is full.
bool extend_excerpt(std::string& excerpt, std::string_view text, size_t most);

}  // namespace serval
