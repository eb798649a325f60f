// A conversation, and its KV state on disk: NAME.kv (the engine's snapshot) with NAME.json (the
// words) under the state folder, or wherever a NAME with a slash points.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "serval/engine.h"

namespace serval {

struct Conversation {
  bool raw = false;  // completion without a template: `text` is all there is
  std::string text;
  std::vector<ChatMessage> messages;  // a system message, if any, comes first

  Prompt prompt(bool add_generation_prompt) const;
};

// Saves words and KV. Returns a line for people. Throws Error.
std::string save_conversation(Engine& engine, const Conversation& conversation,
                              const std::string& name);
// Brings the KV back into the engine; what does not fit this model is refused. Throws Error.
Conversation load_conversation(Engine& engine, const std::string& name);

}  // namespace serval
