// serval top: the monitor in a terminal. On anything else than a terminal, one look as text.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "apps/command.h"
#include "apps/environment.h"
#include "apps/interrupt.h"
#include "apps/monitor_source.h"
#include "apps/monitor_view.h"
#include "apps/options.h"
#include "apps/term/session.h"
#include "apps/terminal.h"
#include "base/file.h"

namespace serval {
namespace {

struct TopOptions {
  std::string address = "http://127.0.0.1:8080", key_file, record, replay;
  int hz = 2;
  double speed = 1;
  uint64_t frames = 0;
  bool json = false, ascii = false;
};

// Braille needs UTF-8 and a font that has it; the Linux console has only blocks.
Glyphs terminal_glyphs(bool ascii) {
  if (ascii || !speaks_utf8()) return Glyphs::kAscii;
  return on_linux_console() ? Glyphs::kBlocks : Glyphs::kBraille;
}

// The full-screen program: keys, what is shown, and when it is drawn again.
class Top {
 public:
  Top(const TopOptions& options, MonitorSource& source)
      : source_(source), view_(first_view(options)) {}

  int run() {
    while (!leave_) {
      const TerminalSession::Signals signals = session_.take_signals();
      if (signals.end) break;
      redraw_ = redraw_ || signals.redraw;
      const int fds[] = {STDIN_FILENO, session_.signal_fd()};
      source_.wait(kWaitMs, fds, [&](std::string_view name, std::string_view data) {
        const bool changed = state_.apply(name, data);
        dirty_ = dirty_ || (changed && !view_.paused);
      });
      if (source_.fault() != shown_fault_) {
        shown_fault_ = source_.fault();
        dirty_ = true;
      }
      while (const auto key = session_.key()) press(*key);
      draw();
    }
    return kExitDone;
  }

 private:
  static constexpr int kWaitMs = 1000;

  static ViewOptions first_view(const TopOptions& options) {
    ViewOptions view;
    view.glyphs = terminal_glyphs(options.ascii);
    view.colours = !no_color();
    return view;
  }

  void press(int key) {
    dirty_ = true;
    answer_.clear();
    if (!view_.notice.empty()) {  // a question
      if (key == 'y') cancel();
      view_.notice.clear();
      return;
    }
    if (view_.help) {
      view_.help = false;
      return;
    }
    switch (key) {
      case 'q':
        leave_ = true;
        break;
      case 'p':
      case ' ':
        view_.paused = !view_.paused;
        frozen_ = view_.paused ? std::optional(state_) : std::nullopt;
        break;
      case 's':
        view_.order = static_cast<Order>((static_cast<int>(view_.order) + 1) % 4);
        break;
      case '?':
        view_.help = true;
        break;
      case 'k':
      case TerminalSession::kArrow + 'A':
        select(-1);
        break;
      case 'j':
      case TerminalSession::kArrow + 'B':
        select(1);
        break;
      case 'c':
        if (view_.selected == 0) break;
        view_.notice = fmt::format("cancel request {}? y/n", view_.selected);
        break;
      default:
        if (key >= '1' && key <= '5') view_.page = static_cast<Page>(key - '0');
    }
  }

  const MonitorState& shown_state() const { return frozen_ ? *frozen_ : state_; }

  void select(int by) {
    const auto rows = listed(shown_state(), view_.order);
    if (rows.empty()) return;
    const auto found = std::find_if(rows.begin(), rows.end(),
                                    [&](const ShownRequest* r) { return r->id == view_.selected; });
    const auto last = static_cast<int>(rows.size()) - 1;
    const int at = found == rows.end() ? 0 : static_cast<int>(found - rows.begin()) + by;
    view_.selected = rows[static_cast<size_t>(std::clamp(at, 0, last))]->id;
  }

  void cancel() { answer_ = source_.cancel(view_.selected); }

  void draw() {
    const TerminalSession::Size size = session_.size();
    const bool resized =
        shown_ == nullptr || shown_->rows() != size.rows || shown_->columns() != size.columns;
    const bool asked = std::exchange(redraw_, false);
    if (!dirty_ && !resized && !asked) return;
    dirty_ = false;
    ViewOptions view = view_;
    if (view.notice.empty()) view.notice = answer_;
    if (view.notice.empty()) view.notice = shown_fault_;
    auto next =
        std::make_unique<Screen>(draw_monitor(shown_state(), view, size.rows, size.columns));
    session_.write(next->update(asked || resized ? nullptr : shown_.get(), view_.colours));
    shown_ = std::move(next);
  }

  MonitorSource& source_;
  TerminalSession session_;
  MonitorState state_;
  std::optional<MonitorState> frozen_;  // while paused
  ViewOptions view_;
  std::string shown_fault_;
  std::string answer_;  // to the last question, until the next key
  std::unique_ptr<Screen> shown_;
  bool dirty_ = true, redraw_ = false, leave_ = false;
};

int print_lines(const TopOptions& options, MonitorSource& source) {
  const InterruptScope scope;
  uint64_t frames = 0;
  while (!interrupted() && !source.ended()) {
    source.wait(500, {}, [&](std::string_view name, std::string_view data) {
      if (options.frames > 0 && frames >= options.frames) return;
      print(fmt::format("{{\"event\":\"{}\",\"data\":{}}}\n", name, data));
      frames += name == "frame" || name == "own" ? 1 : 0;
    });
    if (options.frames > 0 && frames >= options.frames) break;
  }
  return kExitDone;
}

// 80 columns of text, as much as there is to tell.
int print_once(const TopOptions& options, MonitorSource& source) {
  MonitorState state;
  source.look([&](std::string_view name, std::string_view data) { state.apply(name, data); });
  ViewOptions view;
  view.glyphs = terminal_glyphs(options.ascii);
  view.colours = view.keys = false;
  print(draw_monitor(state, view, 40, 100).text());
  return kExitDone;
}

int top(const TopOptions& options) {
  std::string key = environment_api_key();
  if (!options.key_file.empty()) {
    key = read_text_file(options.key_file, 64 * 1024);
    key = key.substr(0, key.find_first_of(" \t\r\n"));
  }
  try {
    const auto source = options.replay.empty()
                            ? live_source(options.address, key, options.hz, options.record)
                            : replay_source(options.replay, options.speed);
    if (options.json) return print_lines(options, *source);
    if (!stdin_is_terminal() || !stdout_is_terminal()) return print_once(options, *source);
    return Top(options, *source).run();
  } catch (const Unreachable& error) {
    notice(error.message());
    return kExitUnreachable;
  }
}

}  // namespace

Action define_top(CLI::App& app) {
  const auto o = std::make_shared<TopOptions>();
  app.add_option("address", o->address, "http://host:port, https://..., or unix:/path")
      ->capture_default_str();
  app.add_option("--key-file", o->key_file,
                 "file with a key, best an admin's (default: the variable SERVAL_API_KEY)");
  app.add_option("--hz", o->hz, "looks per second")
      ->check(CLI::Range(1, 10))
      ->capture_default_str();
  app.add_flag("--json", o->json, "print events, one line of JSON each");
  app.add_option("-n,--frames", o->frames, "with --json: stop after so many frames; 0: never")
      ->capture_default_str();
  app.add_option("--record", o->record, "also write what comes into this file");
  app.add_option("--replay", o->replay, "show a recording instead of a server");
  app.add_option("--speed", o->speed, "of a replay")
      ->check(CLI::Range(0.01, 1000.0))
      ->capture_default_str();
  app.add_flag("--ascii", o->ascii, "draw with ASCII only");
  return [o] { return top(*o); };
}

}  // namespace serval
