// Types and ranges were checked by the field table before anything here runs; what is left are
// fields with structure (messages, prompts) and relations between fields.
#include "server/openai/decode.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/json/value.hpp>

#include "base/quoted.h"
#include "server/openai/fields.h"

namespace serval {
namespace {

namespace json = boost::json;

constexpr size_t kMaxPrompts = 256;
constexpr int kCompletionTokens = 16;  // the API's own default for completions

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

std::optional<ApiError> decode_common(const json::object& body, const SamplingParams& defaults,
                                      GenerateCall& call) {
  call.model = string_field(body, "model");
  call.n = int_field(body, "n").value_or(1);
  call.stream = bool_field(body, "stream", false);
  Request& base = call.base;
  base.sampling = defaults;
  if (auto error = read_sampling(body, base.sampling)) return error;
  for (const char* name : {"n_predict", "max_tokens", "max_completion_tokens"}) {
    if (const auto tokens = int_field(body, name)) {
      base.max_tokens = *tokens < 0 ? std::nullopt : tokens;
    }
  }
  base.min_tokens = int_field(body, "min_tokens").value_or(0);
  base.stop = strings_field(body, "stop");
  base.ignore_eos = bool_field(body, "ignore_eos", false);
  base.use_cache = bool_field(body, "cache_prompt", true);
  base.special = !bool_field(body, "skip_special_tokens", true);
  if (const json::value* ids = find_field(body, "stop_token_ids")) {
    if (auto error = read_tokens(*ids, "stop_token_ids", base.stop_tokens)) return error;
  }
  if (const json::value* options = find_field(body, "stream_options")) {
    if (!call.stream) {
      return bad_field("stream_options", "stream_options needs stream: true");
    }
    for (const auto& member : options->get_object()) {
      const std::string name(member.key());
      if (name != "include_usage" && name != "include_obfuscation") {
        return bad_field("stream_options." + name.substr(0, 80),
                         fmt::format("stream_options: unknown field {}", quoted(name)));
      }
      if (!member.value().is_bool() && !member.value().is_null()) {
        return bad_field("stream_options." + name,
                         fmt::format("stream_options.{} must be true or false", name));
      }
    }
    call.include_usage = bool_field(options->get_object(), "include_usage", false);
  }
  return std::nullopt;
}

// A prompt is a text, a list of texts, a list of token ids, or a list of such lists.
std::optional<ApiError> decode_prompts(const json::object& body, std::vector<Prompt>& out) {
  const ApiError malformed =
      bad_field("prompt",
                "prompt must be a string, a list of strings, a list of token ids or a "
                "list of such lists");
  const json::value* prompt = find_field(body, "prompt");
  if (prompt == nullptr) return bad_field("prompt", "prompt is missing");
  const bool parse_special = bool_field(body, "parse_special", false);
  const bool add_special = bool_field(body, "add_special", true);
  const auto add_text = [&](const json::value& text) {
    out.push_back(TextPrompt{std::string(text.get_string()), parse_special, add_special});
  };
  const auto add_tokens = [&](const json::value& list) {
    std::vector<TokenId> tokens;
    auto error = read_tokens(list, "prompt", tokens);
    out.push_back(std::move(tokens));
    return error;
  };
  if (prompt->is_string()) {
    add_text(*prompt);
    return std::nullopt;
  }
  if (!prompt->is_array() || prompt->get_array().empty()) return malformed;
  const json::array& list = prompt->get_array();
  if (list[0].is_number()) return add_tokens(*prompt);
  if (list.size() > kMaxPrompts) {
    return bad_field("prompt", fmt::format("prompt has {} entries, but at most {} are allowed",
                                           list.size(), kMaxPrompts));
  }
  for (const json::value& element : list) {
    if (element.is_string()) {
      add_text(element);
    } else if (element.is_array()) {
      if (auto error = add_tokens(element)) return error;
    } else {
      return malformed;
    }
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

std::optional<ApiError> decode_chat(const json::object& body, const SamplingParams& defaults,
                                    GenerateCall& call) {
  if (auto error = check_fields(body, chat_fields(), call.warnings)) return error;
  if (auto error = decode_common(body, defaults, call)) return error;
  ChatPrompt chat;
  if (auto error = decode_messages(body, chat)) return error;
  call.prompts.emplace_back(std::move(chat));
  call.logprobs = bool_field(body, "logprobs", false);
  const auto top = int_field(body, "top_logprobs");
  if (top && !call.logprobs) {
    return bad_field("top_logprobs", "top_logprobs needs logprobs: true");
  }
  // The engine reports the chosen token with its likeliest ones; one is its least.
  call.top_logprobs = top.value_or(0);
  if (call.logprobs) call.base.logprobs = std::max(1, call.top_logprobs);
  return std::nullopt;
}

std::optional<ApiError> decode_completion(const json::object& body, const SamplingParams& defaults,
                                          GenerateCall& call) {
  if (auto error = check_fields(body, completion_fields(), call.warnings)) return error;
  call.base.max_tokens = kCompletionTokens;
  if (auto error = decode_common(body, defaults, call)) return error;
  if (auto error = decode_prompts(body, call.prompts)) return error;
  if (static_cast<size_t>(call.n) * call.prompts.size() > kMaxPrompts) {
    return bad_field("n",
                     fmt::format("n times prompts is {}, but at most {} are allowed",
                                 static_cast<size_t>(call.n) * call.prompts.size(), kMaxPrompts));
  }
  if (int_field(body, "best_of").value_or(call.n) != call.n) {
    return bad_field("best_of", "best_of must equal n: this server does not rank answers");
  }
  call.echo = bool_field(body, "echo", false);
  const auto logprobs = int_field(body, "logprobs");
  call.logprobs = logprobs.has_value();
  call.top_logprobs = logprobs.value_or(0);
  if (call.logprobs) call.base.logprobs = std::max(1, call.top_logprobs);
  if (call.echo && call.logprobs) {
    return bad_field("logprobs", "echo together with logprobs is not supported by this server");
  }
  return std::nullopt;
}

}  // namespace serval
