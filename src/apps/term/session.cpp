// The handlers only restore the terminal with calls that are safe there (write, tcsetattr) and
// write one byte to a pipe that the program's poll() watches. SIGTSTP restores, stops the process
// for good with the default action, and takes the terminal again when it is continued.
#include "apps/term/session.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>

#include "serval/error.h"

namespace serval {
namespace {

constexpr std::string_view kEnter = "\033[?1049h\033[?25l\033[?7l";
constexpr std::string_view kLeave = "\033[?2026l\033[0m\033[?7h\033[?25h\033[?1049l";
constexpr int kEnding[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
constexpr int kCrashing[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};

// Signal handlers have no other way to what they need.
struct State {
  std::atomic<bool> active{false};
  termios before{};
  termios raw{};
  std::array<int, 2> pipe{-1, -1};
  std::atomic<bool> redraw{false}, end{false};
};
State state;

void put(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(STDOUT_FILENO, bytes.data(), bytes.size());
    if (written < 0 && errno == EAGAIN) {
      pollfd out = {STDOUT_FILENO, POLLOUT, 0};
      ::poll(&out, 1, 1000);
      continue;
    }
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;
    bytes.remove_prefix(static_cast<size_t>(written));
  }
}

void take() {
  ::tcsetattr(STDIN_FILENO, TCSADRAIN, &state.raw);
  put(kEnter);
  state.active = true;
}

void give_back() {
  if (!state.active.exchange(false)) return;
  put(kLeave);
  ::tcsetattr(STDIN_FILENO, TCSADRAIN, &state.before);
}

void wake() {
  const int saved = errno;
  const char byte = 0;
  [[maybe_unused]] const ssize_t written = ::write(state.pipe[1], &byte, 1);
  errno = saved;
}

void on_end(int) {
  state.end = true;
  wake();
}

void on_resize(int) {
  state.redraw = true;
  wake();
}

void on_stop(int) {
  const int saved = errno;
  give_back();
  ::raise(SIGSTOP);  // until SIGCONT
  take();
  errno = saved;
  on_resize(0);
}

void on_crash(int number) {
  give_back();
  std::signal(number, SIG_DFL);
  ::raise(number);
}

void install(int number, void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  ::sigaction(number, &action, nullptr);
}

}  // namespace

TerminalSession::TerminalSession() {
  if (::isatty(STDIN_FILENO) == 0 || ::isatty(STDOUT_FILENO) == 0 ||
      ::tcgetattr(STDIN_FILENO, &state.before) != 0) {
    throw Error(ErrorCode::kIo, "this needs a terminal");
  }
  if (::pipe2(state.pipe.data(), O_NONBLOCK | O_CLOEXEC) != 0) {
    throw Error(ErrorCode::kIo, "no pipe: too many open files");
  }
  state.raw = state.before;
  state.raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);  // signals still come from keys
  state.raw.c_cc[VMIN] = 0;
  state.raw.c_cc[VTIME] = 0;
  for (const int number : kEnding) install(number, on_end);
  for (const int number : kCrashing) install(number, on_crash);
  install(SIGWINCH, on_resize);
  install(SIGTSTP, on_stop);
  take();
}

TerminalSession::~TerminalSession() {
  give_back();
  for (const int number : kEnding) std::signal(number, SIG_DFL);
  for (const int number : kCrashing) std::signal(number, SIG_DFL);
  std::signal(SIGWINCH, SIG_DFL);
  std::signal(SIGTSTP, SIG_DFL);
  ::close(state.pipe[0]);
  ::close(state.pipe[1]);
}

TerminalSession::Size TerminalSession::size() const {
  winsize size = {};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0 || size.ws_col == 0) {
    return {};
  }
  return {size.ws_row, size.ws_col};
}

void TerminalSession::write(std::string_view bytes) { put(bytes); }

int TerminalSession::signal_fd() const { return state.pipe[0]; }

TerminalSession::Signals TerminalSession::take_signals() {
  char bytes[64];
  while (::read(state.pipe[0], bytes, sizeof bytes) > 0) {
  }
  // A terminal that is gone without a signal: it was not the one that controls this process.
  pollfd terminal = {STDIN_FILENO, 0, 0};
  const bool gone = ::poll(&terminal, 1, 0) > 0;
  return {state.redraw.exchange(false), state.end.load() || gone};
}

std::optional<int> TerminalSession::key() {
  char c = 0;
  if (::read(STDIN_FILENO, &c, 1) != 1) return std::nullopt;
  if (c != '\033') return static_cast<unsigned char>(c);
  // "ESC [ A" or "ESC O A"; other sequences are dropped whole.
  if (::read(STDIN_FILENO, &c, 1) != 1) return '\033';
  while (::read(STDIN_FILENO, &c, 1) == 1) {
    if (c == 'A' || c == 'B') return kArrow + c;
    if (c >= 0x40 && c <= 0x7E) break;
  }
  return key();
}

}  // namespace serval
