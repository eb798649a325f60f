#include "apps/conversation.h"

#include <fmt/format.h>

#include <boost/json.hpp>
#include <filesystem>
#include <system_error>

#include "apps/command.h"
#include "apps/environment.h"
#include "apps/generation.h"
#include "apps/json_text.h"
#include "apps/terminal.h"
#include "base/file.h"
#include "base/utf8.h"
#include "store/model_folder.h"

namespace serval {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr uint64_t kMaxConversation = 64 << 20;

// Path without extension.
std::string stem_of(const std::string& name) {
  if (name.find('/') != std::string::npos) return name;
  if (name.empty() || name.front() == '.' || name.size() > 200) {
    throw UsageError("\"" + terminal_safe(name) + "\" cannot name a conversation");
  }
  return state_folder() + "/conversations/" + name;
}

std::string member(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

}  // namespace

Prompt Conversation::prompt(bool add_generation_prompt) const {
  if (raw) return TextPrompt{text, false, true};
  ChatPrompt chat;
  chat.messages = messages;
  chat.add_generation_prompt = add_generation_prompt;
  return chat;
}

std::string save_conversation(Engine& engine, const Conversation& conversation,
                              const std::string& name) {
  const std::string stem = stem_of(name);
  std::error_code error;
  fs::create_directories(fs::path(stem).parent_path(), error);
  const SnapshotInfo info = checked(engine.save_state(conversation.prompt(false), stem + ".kv"));
  json::array messages;
  for (const ChatMessage& message : conversation.messages) {
    messages.push_back(
        json::object{{"role", message.role}, {"content", replace_invalid_utf8(message.content)}});
  }
  json::object record;
  record["model"] = replace_invalid_utf8(engine.info().name);
  record["raw"] = conversation.raw;
  record["text"] = replace_invalid_utf8(conversation.text);
  record["messages"] = std::move(messages);
  AtomicFile out(stem + ".json");
  out.write(pretty_json(record) + "\n");
  out.commit();
  return fmt::format("saved {} tokens ({}) as {}", info.tokens, format_bytes(info.bytes),
                     stem + ".kv");
}

Conversation load_conversation(Engine& engine, const std::string& name) {
  const std::string stem = stem_of(name);
  const std::string path = stem + ".json";
  boost::system::error_code error;
  const json::value parsed = json::parse(read_text_file(path, kMaxConversation), error);
  if (error || !parsed.is_object()) {
    throw Error(ErrorCode::kCorrupt, path + ": is not a saved conversation");
  }
  const json::object& record = parsed.get_object();
  Conversation conversation;
  const json::value* raw = record.if_contains("raw");
  conversation.raw = raw != nullptr && raw->is_bool() && raw->get_bool();
  conversation.text = member(record, "text");
  if (const json::value* messages = record.if_contains("messages");
      messages && messages->is_array()) {
    for (const json::value& row : messages->get_array()) {
      if (!row.is_object()) throw Error(ErrorCode::kCorrupt, path + ": a message is not an object");
      ChatMessage message;
      message.role = member(row.get_object(), "role");
      message.content = member(row.get_object(), "content");
      conversation.messages.push_back(std::move(message));
    }
  }
  Result<SnapshotInfo> info = engine.load_state(stem + ".kv");
  if (!info) throw info.error();
  return conversation;
}

}  // namespace serval
