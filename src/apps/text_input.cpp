#include "apps/text_input.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <system_error>

#include "apps/command.h"
#include "apps/interrupt.h"
#include "base/file.h"
#include "base/utf8.h"

namespace serval {

std::string read_stdin() {
  std::string text;
  std::array<char, 64 * 1024> buffer{};
  for (;;) {
    const ssize_t got = ::read(STDIN_FILENO, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR && !interrupted()) continue;
    if (got < 0) {
      throw Error(ErrorCode::kIo,
                  "standard input: cannot read: " + std::generic_category().message(errno));
    }
    if (got == 0) return text;
    text.append(buffer.data(), static_cast<size_t>(got));
    if (text.size() > kMaxTextBytes) {
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("standard input: longer than {} MB", kMaxTextBytes >> 20));
    }
  }
}

std::string read_input(const std::string& path) {
  return path == "-" ? read_stdin() : read_text_file(path, kMaxTextBytes);
}

bool stdin_holds_text() {
  struct stat status = {};
  if (::fstat(STDIN_FILENO, &status) != 0) return false;
  return S_ISFIFO(status.st_mode) || S_ISREG(status.st_mode) || S_ISSOCK(status.st_mode);
}

void require_utf8(const std::string& text, const std::string& what) {
  const size_t good = valid_utf8_prefix(text);
  if (good != text.size()) {
    throw UsageError(
        fmt::format("{}: byte {} is not valid UTF-8; convert the text first", what, good));
  }
}

}  // namespace serval
