// libedit does the editing. Characters are read by our own function, so that Ctrl-C (a signal,
// since the terminal stays in its usual mode for signals) ends the line at once instead of being
// retried.
#include "apps/line_editor.h"

#include <histedit.h>
#include <unistd.h>

#include <cerrno>
#include <clocale>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "apps/interrupt.h"
#include "base/utf8.h"

namespace serval {
namespace {

constexpr int kHistoryLines = 1000;

int read_byte(unsigned char& byte) {
  for (;;) {
    const ssize_t got = ::read(STDIN_FILENO, &byte, 1);
    if (got >= 0) return static_cast<int>(got);
    if (errno != EINTR || interrupted()) return -1;
  }
}

// A Ctrl-D typed while an answer came: the terminal, not yet in editing mode, has kept the end of
// input as a NUL, which would otherwise stand in the line unseen.
constexpr unsigned char kQueuedEnd = '\0', kEnd = '\x04';

// One character, decoded from UTF-8; the shape libedit's EL_GETCFN wants.
int read_character(EditLine*, wchar_t* out) {
  std::string bytes;
  for (;;) {
    unsigned char byte = 0;
    const int got = read_byte(byte);
    if (got <= 0) return got;
    if (byte == kQueuedEnd) byte = kEnd;
    bytes += static_cast<char>(byte);
    const Utf8Step step = decode_utf8(bytes);
    if (step.valid || !step.truncated) {
      *out = static_cast<wchar_t>(step.code_point);
      return 1;
    }
  }
}

}  // namespace

struct LineEditor::Impl {
  EditLine* editor = nullptr;
  History* history = nullptr;
  std::string history_path, prompt;
};

namespace {

const char* current_prompt(EditLine* editor) {
  std::string* prompt = nullptr;
  el_get(editor, EL_CLIENTDATA, &prompt);
  return prompt->c_str();
}

}  // namespace

LineEditor::LineEditor(std::string history_path) : impl_(std::make_unique<Impl>()) {
  // Line editing has to know how wide characters are; in the C locale everything is one byte.
  if (std::setlocale(LC_CTYPE, "") == nullptr || MB_CUR_MAX == 1)
    std::setlocale(LC_CTYPE, "C.UTF-8");
  impl_->history_path = std::move(history_path);
  impl_->history = history_init();
  impl_->editor = el_init("serval", stdin, stdout, stderr);
  HistEvent event;
  history(impl_->history, &event, H_SETSIZE, kHistoryLines);
  history(impl_->history, &event, H_SETUNIQUE, 1);
  history(impl_->history, &event, H_LOAD, impl_->history_path.c_str());
  el_set(impl_->editor, EL_EDITOR, "emacs");
  el_set(impl_->editor, EL_CLIENTDATA, &impl_->prompt);
  el_set(impl_->editor, EL_PROMPT, current_prompt);
  el_set(impl_->editor, EL_HIST, history, impl_->history);
  el_set(impl_->editor, EL_GETCFN, read_character);
}

LineEditor::~LineEditor() {
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(impl_->history_path).parent_path(),
                                      ignored);
  HistEvent event;
  history(impl_->history, &event, H_SAVE, impl_->history_path.c_str());
  el_end(impl_->editor);
  history_end(impl_->history);
}

LineEnd LineEditor::read(const std::string& prompt, std::string& line) {
  line.clear();
  impl_->prompt = prompt;
  const InterruptScope scope;
  for (;;) {
    int count = 0;
    const char* text = el_gets(impl_->editor, &count);
    if (interrupted()) {
      el_set(impl_->editor, EL_REFRESH);
      std::fputs("^C\n", stdout);
      std::fflush(stdout);
      el_reset(impl_->editor);
      return LineEnd::kInterrupted;
    }
    if (text == nullptr || count <= 0) return LineEnd::kEndOfInput;
    line += text;
    if (line.ends_with('\n')) line.pop_back();
    if (!line.ends_with('\\')) break;
    line.back() = '\n';
    impl_->prompt = ". ";
  }
  HistEvent event;
  if (!line.empty() && line.find('\n') == std::string::npos) {
    history(impl_->history, &event, H_ENTER, line.c_str());
  }
  return LineEnd::kLine;
}

}  // namespace serval
