// Types and ranges were checked by the field table before anything here runs; what is left are
// fields with structure (prompts) and relations between fields.
#include "server/openai/decode.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/value.hpp>

#include "base/quoted.h"

namespace serval {
namespace {

namespace json = boost::json;

constexpr size_t kMaxInputs = 2048;    // of one call for embeddings, as OpenAI's own
constexpr int kCompletionTokens = 16;  // the API's own default for completions

std::optional<ApiError> decode_stream_options(const json::object& body, GenerateCall& call) {
  const json::value* options = find_field(body, "stream_options");
  if (options == nullptr) return std::nullopt;
  if (!call.stream) return bad_field("stream_options", "stream_options needs stream: true");
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
  return std::nullopt;
}

}  // namespace

std::optional<ApiError> decode_generation(const json::object& body, const SamplingParams& defaults,
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
  base.priority = int_field(body, "priority").value_or(0);
  base.cache_salt = string_field(body, "cache_salt");
  base.progress = call.stream && bool_field(body, "return_progress", false);
  call.timings_per_token = call.stream && bool_field(body, "timings_per_token", false);
  return decode_stream_options(body, call);
}

std::optional<ApiError> decode_prompts(const json::object& body, const PromptRules& rules,
                                       std::vector<Prompt>& out) {
  const std::string name = rules.name;
  const ApiError malformed = bad_field(
      name,
      name + " must be a string, a list of strings, a list of token ids or a list of such lists");
  const json::value* prompt = find_field(body, rules.name);
  if (prompt == nullptr) return bad_field(name, name + " is missing");
  const auto add_text = [&](const json::value& text) {
    out.push_back(
        TextPrompt{std::string(text.get_string()), rules.parse_special, rules.add_special});
  };
  const auto add_tokens = [&](const json::value& list) {
    std::vector<TokenId> tokens;
    auto error = read_tokens(list, name, tokens);
    out.emplace_back(std::in_place_type<std::vector<TokenId>>, std::move(tokens));
    return error;
  };
  if (prompt->is_string()) {
    add_text(*prompt);
    return std::nullopt;
  }
  if (!prompt->is_array() || prompt->get_array().empty()) return malformed;
  const json::array& list = prompt->get_array();
  if (list[0].is_number()) return add_tokens(*prompt);
  if (list.size() > rules.most) {
    return bad_field(name, fmt::format("{} has {} entries, but at most {} are allowed", name,
                                       list.size(), rules.most));
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

std::optional<ApiError> decode_chat(const json::object& body, const SamplingParams& defaults,
                                    GenerateCall& call) {
  if (auto error = check_fields(body, chat_fields(), call.warnings)) return error;
  if (auto error = decode_generation(body, defaults, call)) return error;
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
  if (auto error = decode_generation(body, defaults, call)) return error;
  const PromptRules rules{.parse_special = bool_field(body, "parse_special", false),
                          .add_special = bool_field(body, "add_special", true)};
  if (auto error = decode_prompts(body, rules, call.prompts)) return error;
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
  call.suffix = string_field(body, "suffix");
  return std::nullopt;
}

std::optional<ApiError> decode_embeddings(const json::object& body, EmbeddingCall& call) {
  if (auto error = check_fields(body, embedding_fields(), call.warnings)) return error;
  call.model = string_field(body, "model");
  const PromptRules rules{
      .name = "input", .most = kMaxInputs, .add_special = bool_field(body, "add_special", true)};
  if (auto error = decode_prompts(body, rules, call.inputs)) return error;
  const std::string format = string_field(body, "encoding_format");
  if (!format.empty() && format != "float" && format != "base64") {
    return bad_field("encoding_format", "encoding_format must be float or base64");
  }
  call.base64 = format == "base64";
  const std::string pooling = string_field(body, "pooling");
  if (pooling.empty() || pooling == "mean") {
    call.base.pooling = Pooling::kMean;
  } else if (pooling == "last") {
    call.base.pooling = Pooling::kLast;
  } else if (pooling == "cls") {
    call.base.pooling = Pooling::kCls;
  } else {
    return bad_field("pooling", "pooling must be mean, last or cls");
  }
  call.dimensions = int_field(body, "dimensions");
  call.normalize = bool_field(body, "normalize", true);
  call.base.max_tokens = 0;
  call.base.priority = int_field(body, "priority").value_or(0);
  call.base.cache_salt = string_field(body, "cache_salt");
  return std::nullopt;
}

}  // namespace serval
