#include <fmt/format.h>

#include <algorithm>
#include <boost/json/value.hpp>
#include <limits>

#include "server/native/native.h"

namespace serval {
namespace {

namespace json = boost::json;

ApiError malformed_prompt() {
  return bad_field("prompt",
                   "prompt must be a string, a list of strings and token ids, or a list of such "
                   "lists");
}

// One prompt: texts are tokenised with control tokens recognised, BOS only before the first part.
std::optional<ApiError> append_parts(const Engine& engine, const json::array& parts,
                                     std::vector<TokenId>& out) {
  for (const json::value& part : parts) {
    if (part.is_string()) {
      const auto ids = engine.tokenize(std::string_view(part.get_string()), true, out.empty());
      out.insert(out.end(), ids.begin(), ids.end());
    } else if (part.is_int64() && part.get_int64() >= 0 &&
               part.get_int64() <= std::numeric_limits<TokenId>::max()) {
      out.push_back(static_cast<TokenId>(part.get_int64()));
    } else {
      return malformed_prompt();
    }
  }
  return std::nullopt;
}

}  // namespace

std::optional<ApiError> decode_native(const json::object& body, std::span<const Field> fields,
                                      const SamplingParams& defaults, GenerateCall& call) {
  if (auto error = check_fields(body, fields, call.warnings)) return error;
  if (auto error = decode_generation(body, defaults, call)) return error;
  call.top_logprobs = int_field(body, "n_probs").value_or(0);
  call.logprobs = call.top_logprobs > 0;
  call.base.logprobs = call.top_logprobs;
  call.return_tokens = bool_field(body, "return_tokens", false);
  return std::nullopt;
}

std::optional<ApiError> decode_native_prompts(const Engine& engine, const json::object& body,
                                              std::vector<Prompt>& out) {
  const json::value* prompt = find_field(body, "prompt");
  if (prompt == nullptr) return bad_field("prompt", "prompt is missing");
  if (prompt->is_string()) {
    out.push_back(TextPrompt{std::string(prompt->get_string()), true, true});
    return std::nullopt;
  }
  if (!prompt->is_array() || prompt->get_array().empty()) return malformed_prompt();
  const json::array& list = prompt->get_array();
  const auto any = [&](auto is) { return std::any_of(list.begin(), list.end(), is); };
  // Numbers make it one prompt; texts alone, or lists, are several.
  if (any([](const json::value& v) { return v.is_number(); })) {
    std::vector<TokenId> tokens;
    auto error = append_parts(engine, list, tokens);
    out.push_back(std::move(tokens));
    return error;
  }
  if (list.size() > kMaxPrompts) {
    return bad_field("prompt", fmt::format("prompt has {} entries, but at most {} are allowed",
                                           list.size(), kMaxPrompts));
  }
  for (const json::value& element : list) {
    if (element.is_string()) {
      out.push_back(TextPrompt{std::string(element.get_string()), true, true});
      continue;
    }
    if (!element.is_array()) return malformed_prompt();
    std::vector<TokenId> tokens;
    if (auto error = append_parts(engine, element.get_array(), tokens)) return error;
    out.push_back(std::move(tokens));
  }
  return std::nullopt;
}

std::optional<ApiError> decode_extra_files(const json::object& body,
                                           std::vector<std::pair<std::string, std::string>>& out) {
  const json::value* list = find_field(body, "input_extra");
  if (list == nullptr) return std::nullopt;
  for (const json::value& file : list->get_array()) {
    const json::object* object = file.if_object();
    const json::value* text = object == nullptr ? nullptr : find_field(*object, "text");
    const json::value* name = object == nullptr ? nullptr : find_field(*object, "filename");
    if (text == nullptr || !text->is_string() || (name != nullptr && !name->is_string())) {
      return bad_field("input_extra",
                       "input_extra must be a list of objects with filename and text");
    }
    out.emplace_back(name == nullptr ? "tmp" : std::string(name->get_string()),
                     std::string(text->get_string()));
  }
  return std::nullopt;
}

}  // namespace serval
