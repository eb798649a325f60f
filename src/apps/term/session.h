// TerminalSession: the terminal taken over for a full-screen program, and given back as it was on
// every way out: the destructor, a signal that ends or stops the process, a crash. One at a time.
#pragma once

#include <optional>
#include <string_view>

namespace serval {

class TerminalSession {
 public:
  // Raw keys, alternate screen, no cursor. Throws Error(kIo) when there is no terminal.
  TerminalSession();
  ~TerminalSession();
  TerminalSession(const TerminalSession&) = delete;
  TerminalSession& operator=(const TerminalSession&) = delete;

  struct Size {
    int rows = 24, columns = 80;
  };
  Size size() const;
  void write(std::string_view bytes);

  // Readable when a signal came: hand it to poll() beside standard input.
  int signal_fd() const;
  // What came since the last call: must all be drawn again, must the program end?
  struct Signals {
    bool redraw = false, end = false;
  };
  Signals take_signals();

  // Keys that were pressed, one at a time; arrows are 'A' up and 'B' down with kArrow added.
  static constexpr int kArrow = 0x100;
  std::optional<int> key();
};

}  // namespace serval
