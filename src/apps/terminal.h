// What goes to people on standard error, and results on standard output.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace serval {

bool stdin_is_terminal();
bool stdout_is_terminal();
bool stderr_is_terminal();

// One line "serval: ..." on standard error. A running progress bar is wiped first.
void notice(std::string_view text);
// The same, but each text at most once per process.
void notice_once(const std::string& text);

// Writes to standard output and flushes; throws Error(kIo) when that fails (a full disk, not a
// closed pipe: that ends the process silently, as it does for every Unix filter).
void print(std::string_view text);

// Colours of standard error or output; empty strings where they would not be understood.
struct Palette {
  std::string_view bold, dim, red, green, yellow, reset;
};
const Palette& stderr_palette();
const Palette& stdout_palette();

// A bar on standard error, drawn at most ten times a second and only on a terminal.
class ProgressBar {
 public:
  explicit ProgressBar(std::string label);
  ~ProgressBar();  // wipes it
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void update(uint64_t done, uint64_t total /* 0: not known */);
  void relabel(const std::string& label) { label_ = label; }
  void wipe();

 private:
  std::string label_;
  std::chrono::steady_clock::time_point start_, last_;
  uint64_t first_done_ = 0;
  bool begun_ = false, drawn_ = false;
};

// "98.4 MB", decimal units as disks and networks use.
std::string format_bytes(uint64_t bytes);
// The parts of `text` a terminal may be shown: control characters other than newline and tab become
// visible escapes, so that model output or metadata cannot drive the terminal.
std::string terminal_safe(std::string_view text);

}  // namespace serval
