// Every turn submits the whole conversation: the engine finds the part it has already computed in
// its KV cache, so a turn costs only its new tokens.
#include "apps/chat_session.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "apps/command.h"
#include "apps/environment.h"
#include "apps/interrupt.h"
#include "apps/line_editor.h"
#include "apps/options.h"
#include "apps/terminal.h"
#include "apps/text_input.h"

namespace serval {
namespace {

constexpr const char* kSlashCommands[] = {"/help", "/clear", "/system", "/save",
                                          "/load", "/stats", "/quit"};

std::string trimmed(const std::string& text) {
  const auto space = [](unsigned char c) { return std::isspace(c) != 0; };
  const auto begin = std::find_if_not(text.begin(), text.end(), space);
  const auto end = std::find_if_not(text.rbegin(), text.rend(), space).base();
  return begin < end ? std::string(begin, end) : std::string();
}

}  // namespace

int ChatSession::run() {
  const Palette& colours = stdout_palette();
  print(fmt::format("{}{}{}  /help lists the commands, Ctrl-D leaves\n", colours.bold,
                    terminal_safe(engine_.info().name), colours.reset));
  LineEditor editor(state_folder() + "/history");
  bool pressed_before = false;
  for (;;) {
    std::string line;
    const LineEnd end = editor.read("> ", line);
    if (end == LineEnd::kEndOfInput) {
      print("\n");
      return kExitDone;
    }
    if (end == LineEnd::kInterrupted) {
      if (pressed_before) return kExitInterrupted;
      pressed_before = true;
      print("(Ctrl-C again leaves)\n");
      continue;
    }
    pressed_before = false;
    line = trimmed(line);
    if (line.empty()) continue;
    try {
      if (line.front() == '/') {
        if (!obey(line)) return kExitDone;
      } else {
        answer(line);
      }
    } catch (const UsageError& error) {
      notice(error.what());
    } catch (const Error& error) {
      notice(error.message());  // one turn failed; the conversation goes on
    }
  }
}

void ChatSession::help() const {
  print(
      "/help            this list\n"
      "/clear           forget the conversation, keep the system message\n"
      "/system [TEXT]   set the system message and begin anew; without a text show it\n"
      "/save NAME       save the conversation with its computed state\n"
      "/load NAME       bring one back\n"
      "/stats           figures of the last answer\n"
      "/quit            leave (also Ctrl-D, or Ctrl-C twice)\n"
      "Ctrl-C stops an answer. A line ending in \\ goes on in the next line.\n");
}

bool ChatSession::obey(const std::string& line) {
  const size_t space = line.find(' ');
  const std::string name = line.substr(0, space);
  const std::string rest = space == std::string::npos ? "" : trimmed(line.substr(space));
  if (name == "/quit" || name == "/exit" || name == "/bye") return false;
  if (name == "/help" || name == "/?") {
    help();
  } else if (name == "/clear") {
    const bool has_system =
        !conversation_.messages.empty() && conversation_.messages.front().role == "system";
    conversation_.messages.resize(has_system ? 1 : 0);
    conversation_.text.clear();
    print("cleared\n");
  } else if (name == "/system") {
    set_system(rest);
  } else if (name == "/save" && !rest.empty()) {
    print(save_conversation(engine_, conversation_, rest) + "\n");
  } else if (name == "/load" && !rest.empty()) {
    conversation_ = load_conversation(engine_, rest);
    print(fmt::format("loaded {} messages\n", conversation_.messages.size()));
  } else if (name == "/stats") {
    show_stats();
  } else if (name == "/save" || name == "/load") {
    print(name + " needs a name\n");
  } else {
    const std::string near =
        nearest_name(name, {std::begin(kSlashCommands), std::end(kSlashCommands)});
    print(fmt::format("unknown command {}{}; /help lists them\n", terminal_safe(name),
                      near.empty() ? "" : ", did you mean " + near + "?"));
  }
  return true;
}

void ChatSession::set_system(const std::string& text) {
  if (conversation_.raw) {
    print("this model has no chat template, so it has no system message\n");
    return;
  }
  const bool has_system =
      !conversation_.messages.empty() && conversation_.messages.front().role == "system";
  if (text.empty()) {
    print(has_system ? terminal_safe(conversation_.messages.front().content) + "\n"
                     : std::string("no system message\n"));
    return;
  }
  ChatMessage message;
  message.role = "system";
  message.content = text;
  conversation_.messages = {message};
  print("system message set, conversation begins anew\n");
}

void ChatSession::show_stats() const {
  if (!last_) {
    print("no answer yet\n");
    return;
  }
  const EngineStats stats = engine_.stats();
  print(fmt::format("{}\nKV pool: {} of {} tokens used, {} cached\n", timings_line(engine_, *last_),
                    stats.kv_tokens_used, stats.kv_tokens_total, stats.kv_tokens_cached));
}

void ChatSession::answer(const std::string& text) {
  require_utf8(text, "the message");
  const Conversation before = conversation_;
  if (conversation_.raw) {
    conversation_.text += text;
  } else {
    ChatMessage message;
    message.role = "user";
    message.content = text;
    conversation_.messages.push_back(std::move(message));
  }
  Request request = request_;
  request.prompt = conversation_.prompt(true);
  if (auto* chat = std::get_if<ChatPrompt>(&request.prompt)) {
    chat->template_override = std::get<ChatPrompt>(request_.prompt).template_override;
  }
  Answer answer;
  try {
    const InterruptScope scope;
    answer = run_request(engine_, std::move(request),
                         [](std::string_view piece) { print(terminal_safe(piece)); });
  } catch (...) {
    conversation_ = before;  // the failed turn never happened
    throw;
  }
  if (conversation_.raw) {
    conversation_.text += answer.text + "\n";
  } else {
    ChatMessage message;
    message.role = "assistant";
    message.content = answer.text;
    conversation_.messages.push_back(std::move(message));
  }
  print(answer.finished.reason == FinishReason::kCancelled ? " [stopped]\n" : "\n");
  if (answer.finished.reason == FinishReason::kContextFull) {
    notice("the context is full: /clear begins anew, or start with a larger -c");
  }
  last_ = std::move(answer);
}

}  // namespace serval
