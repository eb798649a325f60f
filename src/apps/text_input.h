// Texts that come from outside: arguments, files, standard input; bounded and valid UTF-8.
#pragma once

#include <string>

namespace serval {

inline constexpr size_t kMaxTextBytes = size_t{256} << 20;

// All of standard input. Throws Error(kIo / kInvalidArgument).
std::string read_stdin();
// A file, or standard input for "-".
std::string read_input(const std::string& path);
// True when standard input is a pipe, socket or file that holds text for us.
bool stdin_holds_text();
// Throws UsageError naming `what` and the offset of the first byte that is not UTF-8.
void require_utf8(const std::string& text, const std::string& what);

}  // namespace serval
