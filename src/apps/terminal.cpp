#include "apps/terminal.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <system_error>

#include "apps/environment.h"
#include "serval/error.h"

namespace serval {
namespace {

constexpr Palette kColours = {"\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"};
constexpr Palette kPlain = {};
constexpr auto kRedraw = std::chrono::milliseconds(100);
constexpr char kWipe[] = "\r\x1b[K";

ProgressBar* drawn_bar = nullptr;  // the one on the screen; main thread only

void write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const ssize_t put = ::write(descriptor, text.data(), text.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) {
      if (descriptor == STDERR_FILENO) return;  // nowhere left to complain
      throw Error(ErrorCode::kIo,
                  "standard output: write failed: " + std::generic_category().message(errno));
    }
    text.remove_prefix(static_cast<size_t>(put));
  }
}

int terminal_columns() {
  winsize size = {};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

std::string bar_line(const std::string& label, uint64_t done, uint64_t total, double rate) {
  std::string right = format_bytes(done);
  if (total > 0) right += " of " + format_bytes(total);
  if (rate > 0) right += fmt::format(", {}/s", format_bytes(static_cast<uint64_t>(rate)));
  if (rate > 0 && total > done) {
    const auto left = static_cast<uint64_t>(static_cast<double>(total - done) / rate);
    right += fmt::format(", {}:{:02} left", left / 60, left % 60);
  }
  const int room = terminal_columns() - static_cast<int>(label.size() + right.size()) - 6;
  if (total == 0 || room < 8) return fmt::format("{}  {}", label, right);
  const int width = std::min(room, 40);
  const int full = static_cast<int>(static_cast<double>(width) * static_cast<double>(done) /
                                    static_cast<double>(total));
  return fmt::format("{} [{:#<{}}{:.<{}}] {}", label, "", full, "", width - full, right);
}

}  // namespace

bool stdin_is_terminal() { return ::isatty(STDIN_FILENO) != 0; }
bool stdout_is_terminal() { return ::isatty(STDOUT_FILENO) != 0; }
bool stderr_is_terminal() { return ::isatty(STDERR_FILENO) != 0; }

const Palette& stderr_palette() {
  static const Palette& palette = stderr_is_terminal() && !no_color() ? kColours : kPlain;
  return palette;
}

const Palette& stdout_palette() {
  static const Palette& palette = stdout_is_terminal() && !no_color() ? kColours : kPlain;
  return palette;
}

void notice(std::string_view text) {
  if (drawn_bar != nullptr) drawn_bar->wipe();
  write_all(STDERR_FILENO, fmt::format("serval: {}\n", text));
}

void notice_once(const std::string& text) {
  static std::set<std::string> said;
  if (said.insert(text).second) notice(text);
}

void print(std::string_view text) { write_all(STDOUT_FILENO, text); }

ProgressBar::ProgressBar(std::string label)
    : label_(std::move(label)), start_(std::chrono::steady_clock::now()), last_(start_) {}

ProgressBar::~ProgressBar() { wipe(); }

void ProgressBar::wipe() {
  if (drawn_) write_all(STDERR_FILENO, kWipe);
  drawn_ = false;
  if (drawn_bar == this) drawn_bar = nullptr;
}

void ProgressBar::update(uint64_t done, uint64_t total) {
  if (!stderr_is_terminal()) return;
  const auto now = std::chrono::steady_clock::now();
  if (!begun_) {
    begun_ = true;
    first_done_ = done;  // what an earlier call had fetched does not count as speed
    start_ = now;
    return;
  }
  if (now - last_ < kRedraw) return;
  last_ = now;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const double rate =
      seconds > 0.5 && done > first_done_ ? static_cast<double>(done - first_done_) / seconds : 0.0;
  write_all(STDERR_FILENO, kWipe + bar_line(label_, done, total, rate));
  drawn_ = true;
  drawn_bar = this;
}

std::string format_bytes(uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 999.5 && unit + 1 < std::size(kUnits)) {
    value /= 1000.0;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes)
                   : fmt::format("{:.{}f} {}", value, value < 99.95 ? 1 : 0, kUnits[unit]);
}

std::string terminal_safe(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    // U+0080..U+009F are control characters too, in UTF-8 as C2 80..C2 9F.
    const bool c1 = byte == 0xC2 && i + 1 < text.size() &&
                    static_cast<unsigned char>(text[i + 1]) >= 0x80 &&
                    static_cast<unsigned char>(text[i + 1]) < 0xA0;
    if (c1) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[++i]));
    } else if ((byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7F) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace serval
