// A chat's messages. Members that belong to an assistant's earlier reply are read back, so that a
// client may append the reply it got as it is.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/json/value.hpp>

#include "base/quoted.h"
#include "server/openai/decode.h"

namespace serval {
namespace {

namespace json = boost::json;

// What an assistant message of an earlier reply may carry besides; it changes no prompt.
constexpr std::array<std::string_view, 3> kRepliedMembers = {"refusal", "annotations", "audio"};

std::optional<ApiError> text_of(const json::value& content, const std::string& where,
                                std::string& out) {
  if (content.is_string()) {
    out = std::string(content.get_string());
    return std::nullopt;
  }
  if (!content.is_array()) {
    return bad_field(where, fmt::format("{} must be a string or a list of parts", where));
  }
  for (const json::value& part : content.get_array()) {
    const json::object* object = part.if_object();
    const json::value* type = object != nullptr ? object->if_contains("type") : nullptr;
    if (type == nullptr || !type->is_string()) {
      return bad_field(where, fmt::format("every part of {} needs a type", where));
    }
    if (type->get_string() != "text") {
      return bad_field(where, fmt::format("{}: parts of type {} are not supported by this model",
                                          where, quoted(type->get_string())));
    }
    const json::value* text = object->if_contains("text");
    if (text == nullptr || !text->is_string()) {
      return bad_field(where, fmt::format("{}: a part of type text needs a text", where));
    }
    if (!out.empty()) out += '\n';
    out += std::string_view(text->get_string());
  }
  return std::nullopt;
}

std::optional<ApiError> tool_calls_of(const json::value& value, const std::string& where,
                                      std::vector<ToolCall>& out) {
  const ApiError malformed = bad_field(
      where, fmt::format("{} must be a list of objects with id, type and function", where));
  if (!value.is_array()) return malformed;
  for (const json::value& element : value.get_array()) {
    if (!element.is_object()) return malformed;
    const json::value* function = find_field(element.get_object(), "function");
    if (function == nullptr || !function->is_object()) return malformed;
    ToolCall call;
    call.id = string_field(element.get_object(), "id");
    call.name = string_field(function->get_object(), "name");
    call.arguments_json = string_field(function->get_object(), "arguments");
    if (call.name.empty()) return malformed;
    out.push_back(std::move(call));
  }
  return std::nullopt;
}

std::optional<ApiError> decode_message(const json::value& value, const std::string& where,
                                       ChatMessage& out) {
  if (!value.is_object()) return bad_field(where, fmt::format("{} must be an object", where));
  bool has_content = false;
  for (const auto& member : value.get_object()) {
    const std::string_view name = member.key();
    const json::value& v = member.value();
    if (v.is_null()) continue;
    const std::string place = fmt::format("{}.{}", where, name.substr(0, 80));
    const auto take_string = [&](std::string& target) -> std::optional<ApiError> {
      if (!v.is_string()) return bad_field(place, fmt::format("{} must be a string", place));
      target = std::string(v.get_string());
      return std::nullopt;
    };
    std::optional<ApiError> error;
    if (name == "content") {
      has_content = true;
      error = text_of(v, place, out.content);
    } else if (name == "role") {
      error = take_string(out.role);
    } else if (name == "name") {
      error = take_string(out.name);
    } else if (name == "tool_call_id") {
      error = take_string(out.tool_call_id);
    } else if (name == "reasoning_content" || name == "reasoning") {
      error = take_string(out.reasoning);
    } else if (name == "tool_calls") {
      error = tool_calls_of(v, place, out.tool_calls);
    } else if (std::find(kRepliedMembers.begin(), kRepliedMembers.end(), name) ==
               kRepliedMembers.end()) {
      error = bad_field(place, fmt::format("{}: unknown field {}", where, quoted(name)));
    }
    if (error) return error;
  }
  if (out.role == "developer") out.role = "system";  // the newer name, which templates do not know
  if (out.role != "system" && out.role != "user" && out.role != "assistant" && out.role != "tool") {
    return bad_field(
        where + ".role",
        fmt::format("{}.role must be system, developer, user, assistant or tool", where));
  }
  if (!has_content && (out.role != "assistant" || out.tool_calls.empty())) {
    return bad_field(where + ".content", fmt::format("{} has no content", where));
  }
  return std::nullopt;
}

}  // namespace

std::optional<ApiError> decode_messages(const json::object& body, ChatPrompt& chat) {
  const json::value* messages = find_field(body, "messages");
  if (messages == nullptr) return bad_field("messages", "messages is missing");
  const json::array& list = messages->as_array();
  for (size_t i = 0; i < list.size(); ++i) {
    ChatMessage message;
    if (auto error = decode_message(list[i], fmt::format("messages[{}]", i), message)) return error;
    chat.messages.push_back(std::move(message));
  }
  chat.add_generation_prompt = bool_field(body, "add_generation_prompt", true);
  return std::nullopt;
}

}  // namespace serval
