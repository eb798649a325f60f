// The chat on the terminal: reads lines, answers, keeps the conversation.
#pragma once

#include <optional>
#include <string>

#include "apps/conversation.h"
#include "apps/generation.h"
#include "serval/engine.h"

namespace serval {

class ChatSession {
 public:
  // `request` carries everything but the prompt. `conversation` may hold a system message or an
  // earlier chat. Borrows the engine.
  ChatSession(Engine& engine, Request request, Conversation conversation)
      : engine_(engine), request_(std::move(request)), conversation_(std::move(conversation)) {}

  // Until the user leaves. Returns the exit code.
  int run();
  const Conversation& conversation() const { return conversation_; }

 private:
  struct SlashCommand;
  bool obey(const std::string& line);  // false: leave
  void answer(const std::string& text);
  void help() const;
  void show_stats() const;
  void set_system(const std::string& text);

  Engine& engine_;
  Request request_;
  Conversation conversation_;
  std::optional<Answer> last_;
};

}  // namespace serval
