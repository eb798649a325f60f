// Numbers of the samplers come from sampling/processors.h; what only the API knows stands here.
#include "server/openai/fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/value.hpp>
#include <cmath>
#include <limits>

#include "base/quoted.h"
#include "sampling/processors.h"

namespace serval {
namespace {

namespace json = boost::json;
using K = FieldKind;
using H = Handling;

constexpr double kAnyInt = 2147483647;
constexpr double kLongName = 256;
constexpr double kLongText = 8 * 1024 * 1024;

bool is_empty(const json::value& v) {
  return (v.is_array() && v.get_array().empty()) || (v.is_object() && v.get_object().empty()) ||
         (v.is_string() && v.get_string().empty());
}
bool is_false(const json::value& v) { return v.is_bool() && !v.get_bool(); }
bool is_zero(const json::value& v) { return v.is_int64() && v.get_int64() == 0; }
bool is_text_format(const json::value& v) {
  if (!v.is_object()) return false;
  const json::value* type = v.get_object().if_contains("type");
  return v.get_object().size() == 1 && type != nullptr && type->is_string() &&
         type->get_string() == "text";
}
bool is_no_tool(const json::value& v) {
  return v.is_string() && (v.get_string() == "none" || v.get_string() == "auto");
}
bool is_text_modality(const json::value& v) {
  return v.is_array() && v.get_array().size() == 1 && v.get_array()[0].is_string() &&
         v.get_array()[0].get_string() == "text";
}

// ---- What chat and completion share

constexpr Field kGenerationFields[] = {
    {"model", K::kString, H::kWorks, 0, kLongName, "must name the served model when given"},
    {"max_tokens", K::kInteger, H::kWorks, -1, kAnyInt, "tokens to generate; -1: no limit"},
    {"n", K::kInteger, H::kWorks, 1, 8, "choices"},
    {"stop", K::kStrings, H::kWorks, 0, 16, "texts that end the answer"},
    {"seed", K::kAny, H::kWorks, 0, 0, "same seed, same text; -1: any"},
    {"stream", K::kBool, H::kWorks, 0, 0, "server-sent events"},
    {"stream_options", K::kObject, H::kWorks, 0, 0, "include_usage"},
    {"logit_bias", K::kAny, H::kWorks, 0, 0, "added to logits, by token id"},
    {"repetition_penalty", K::kNumber, H::kWorks, 0.001, 1000, "same as repeat_penalty"},
    {"dry_sequence_breakers", K::kStrings, H::kWorks, 0, 64, "see docs/reference/sampling.md"},
    {"samplers", K::kStrings, H::kWorks, 0, 32, "order of the sampling chain"},
    {"min_tokens", K::kInteger, H::kWorks, 0, kAnyInt, "the answer does not end earlier"},
    {"ignore_eos", K::kBool, H::kWorks, 0, 0, "go on after end-of-text tokens"},
    {"stop_token_ids", K::kList, H::kWorks, 0, 256, "tokens that end the answer"},
    {"cache_prompt", K::kBool, H::kWorks, 0, 0, "reuse keys and values of earlier requests"},
    {"skip_special_tokens", K::kBool, H::kWorks, 0, 0, "false: show control tokens in the text"},
    {"user", K::kAny, H::kIgnored, 0, 0, "", is_empty},
    {"metadata", K::kAny, H::kIgnored, 0, 0, "", is_empty},
    {"store", K::kBool, H::kIgnored, 0, 0, "", is_false},
    {"service_tier", K::kString, H::kIgnored, 0, kLongName, ""},
    {"prompt_cache_key", K::kString, H::kIgnored, 0, kLongText, ""},
    {"prompt_cache_retention", K::kString, H::kIgnored, 0, kLongName, ""},
    {"safety_identifier", K::kString, H::kIgnored, 0, kLongText, ""},
    {"id_slot", K::kInteger, H::kIgnored, -1, kAnyInt, ""},
    {"priority", K::kInteger, H::kRefused, 0, 0, "", is_zero},
    {"cache_salt", K::kString, H::kRefused, 0, 0, "", is_empty},
    {"return_progress", K::kBool, H::kRefused, 0, 0, "", is_false},
    {"timings_per_token", K::kBool, H::kRefused, 0, 0, "", is_false},
    {"return_tokens", K::kBool, H::kRefused, 0, 0, "", is_false},
    {"bad_words", K::kList, H::kRefused, 0, 0, "", is_empty},
    {"lora", K::kList, H::kRefused, 0, 0, "", is_empty},
    {"grammar", K::kString, H::kRefused, 0, 0, "", is_empty},
    {"json_schema", K::kAny, H::kRefused, 0, 0, ""},
    {"structured_outputs", K::kAny, H::kRefused, 0, 0, ""},
    {"response_format", K::kAny, H::kRefused, 0, 0, "", is_text_format},
    {"t_max_predict_ms", K::kInteger, H::kRefused, 0, 0, ""},
};

constexpr Field kChatOnly[] = {
    {"messages", K::kList, H::kWorks, 1, 100000, "the conversation"},
    {"max_completion_tokens", K::kInteger, H::kWorks, -1, kAnyInt, "same as max_tokens"},
    {"logprobs", K::kBool, H::kWorks, 0, 0, "report the log-probability of every token"},
    {"top_logprobs", K::kInteger, H::kWorks, 0, 20, "and of the likeliest others"},
    {"add_generation_prompt", K::kBool, H::kWorks, 0, 0, "end the prompt with the answer's begin"},
    {"reasoning_effort", K::kString, H::kIgnored, 0, kLongName, ""},
    {"verbosity", K::kString, H::kIgnored, 0, kLongName, ""},
    {"parallel_tool_calls", K::kBool, H::kIgnored, 0, 0, ""},
    {"modalities", K::kList, H::kRefused, 0, 0, "", is_text_modality},
    {"tools", K::kList, H::kRefused, 0, 0, "", is_empty},
    {"tool_choice", K::kAny, H::kRefused, 0, 0, "", is_no_tool},
    {"functions", K::kList, H::kRefused, 0, 0, "", is_empty},
    {"function_call", K::kAny, H::kRefused, 0, 0, "", is_no_tool},
    {"audio", K::kAny, H::kRefused, 0, 0, ""},
    {"prediction", K::kAny, H::kRefused, 0, 0, ""},
    {"web_search_options", K::kAny, H::kRefused, 0, 0, ""},
    {"continue_final_message", K::kBool, H::kRefused, 0, 0, "", is_false},
    {"chat_template", K::kString, H::kRefused, 0, 0, ""},
    {"chat_template_kwargs", K::kObject, H::kRefused, 0, 0, "", is_empty},
    {"enable_thinking", K::kBool, H::kRefused, 0, 0, "", is_false},
    {"reasoning_format", K::kString, H::kRefused, 0, 0, ""},
    {"thinking_budget", K::kInteger, H::kRefused, 0, 0, ""},
};

constexpr Field kCompletionOnly[] = {
    {"prompt", K::kAny, H::kWorks, 0, 0, "text, token ids, or a list of either"},
    {"echo", K::kBool, H::kWorks, 0, 0, "repeat the prompt before the answer"},
    {"logprobs", K::kInteger, H::kWorks, 0, 20, "log-probabilities of so many likeliest tokens"},
    {"best_of", K::kInteger, H::kWorks, 1, 8, "must equal n"},
    {"parse_special", K::kBool, H::kWorks, 0, 0, "control tokens may be written in the prompt"},
    {"add_special", K::kBool, H::kWorks, 0, 0, "begin the prompt as the model expects"},
    {"n_predict", K::kInteger, H::kWorks, -1, kAnyInt, "same as max_tokens"},
    {"suffix", K::kString, H::kRefused, 0, 0, "", is_empty},
};

constexpr Field kTokenizeFields[] = {
    {"model", K::kString, H::kWorks, 0, kLongName, "must name the served model when given"},
    {"content", K::kString, H::kWorks, 0, kLongText, "the text"},
    {"prompt", K::kString, H::kWorks, 0, kLongText, "same as content"},
    {"messages", K::kList, H::kWorks, 1, 100000, "a chat instead of a text"},
    {"add_generation_prompt", K::kBool, H::kWorks, 0, 0, "end the prompt with the answer's begin"},
    {"add_special", K::kBool, H::kWorks, 0, 0, "begin as the model expects; default false"},
    {"parse_special", K::kBool, H::kWorks, 0, 0, "recognise control tokens; default true"},
    {"with_pieces", K::kBool, H::kWorks, 0, 0, "the text of every token, too"},
    {"tools", K::kList, H::kRefused, 0, 0, "", is_empty},
};

constexpr Field kDetokenizeFields[] = {
    {"model", K::kString, H::kWorks, 0, kLongName, "must name the served model when given"},
    {"tokens", K::kList, H::kWorks, 0, 200000, "token ids"},
};

std::vector<const Parameter*> sampling_parameters() {
  std::vector<const Parameter*> all;
  for (const Processor& processor : processors()) {
    for (const Parameter& parameter : processor.parameters) all.push_back(&parameter);
  }
  for (const Parameter& parameter : general_parameters()) all.push_back(&parameter);
  return all;
}

std::vector<Field> with_sampling(std::span<const Field> own) {
  std::vector<Field> all(std::begin(kGenerationFields), std::end(kGenerationFields));
  all.insert(all.end(), own.begin(), own.end());
  for (const Parameter* p : sampling_parameters()) {
    all.push_back({p->name, p->integer ? K::kInteger : K::kNumber, H::kWorks, p->minimum,
                   p->maximum, p->meaning});
  }
  return all;
}

// Integers may be written as 16.0: some languages know no others.
std::optional<double> number_of(const json::value& v) {
  if (v.is_int64()) return static_cast<double>(v.get_int64());
  if (v.is_uint64()) return static_cast<double>(v.get_uint64());
  if (v.is_double() && std::isfinite(v.get_double())) return v.get_double();
  return std::nullopt;
}

ApiError wrong_type(std::string_view name, std::string_view expected) {
  return bad_field(std::string(name), fmt::format("{} must be {}", name, expected));
}

std::optional<ApiError> check_number(const Field& field, const json::value& value) {
  const auto number = number_of(value);
  const bool integer = field.kind == K::kInteger;
  if (!number || (integer && *number != std::trunc(*number))) {
    return wrong_type(field.name, integer ? "an integer" : "a finite number");
  }
  if (*number >= field.minimum && *number <= field.maximum) return std::nullopt;
  return bad_field(std::string(field.name),
                   fmt::format("{} is {}, but must be between {} and {}", field.name, *number,
                               field.minimum, field.maximum));
}

std::optional<ApiError> too_long(const Field& field, size_t size, std::string_view unit) {
  if (static_cast<double>(size) <= field.maximum) return std::nullopt;
  return bad_field(std::string(field.name), fmt::format("{} has {} {}, but at most {} are allowed",
                                                        field.name, size, unit, field.maximum));
}

std::optional<ApiError> check_strings(const Field& field, const json::value& value) {
  if (value.is_string()) return std::nullopt;
  if (!value.is_array()) return wrong_type(field.name, "a string or a list of strings");
  for (const json::value& element : value.get_array()) {
    if (!element.is_string()) return wrong_type(field.name, "a string or a list of strings");
  }
  return too_long(field, value.get_array().size(), "strings");
}

std::optional<ApiError> check_type(const Field& field, const json::value& value) {
  switch (field.kind) {
    case K::kBool:
      return value.is_bool() ? std::nullopt
                             : std::optional(wrong_type(field.name, "true or false"));
    case K::kInteger:
    case K::kNumber:
      return check_number(field, value);
    case K::kString:
      if (!value.is_string()) return wrong_type(field.name, "a string");
      return too_long(field, value.get_string().size(), "bytes");
    case K::kStrings:
      return check_strings(field, value);
    case K::kList:
      if (!value.is_array()) return wrong_type(field.name, "a list");
      if (static_cast<double>(value.get_array().size()) < field.minimum) {
        return wrong_type(field.name, "a list that is not empty");
      }
      return too_long(field, value.get_array().size(), "entries");
    case K::kObject:
      return value.is_object() ? std::nullopt : std::optional(wrong_type(field.name, "an object"));
    case K::kAny:
      return std::nullopt;
  }
  return std::nullopt;
}

std::optional<ApiError> check_field(const Field& field, const json::value& value,
                                    std::vector<std::string>& warnings) {
  if (field.asks_nothing != nullptr && field.asks_nothing(value)) return std::nullopt;
  if (field.handling == H::kRefused) {
    ApiError error = bad_field(std::string(field.name),
                               fmt::format("{} is not supported by this server", field.name));
    error.code = "unsupported_parameter";
    return error;
  }
  if (auto error = check_type(field, value)) return error;
  if (field.handling == H::kIgnored) {
    warnings.push_back(fmt::format("{} has no effect on this server", field.name));
  }
  return std::nullopt;
}

// OpenAI: {"42": -100}. llama-server: [[42, -1.5], [7, false]].
std::optional<ApiError> read_logit_bias(const json::value& value, SamplingParams& params) {
  const ApiError malformed =
      wrong_type("logit_bias", "an object of token ids and numbers from -100 to 100");
  const auto add = [&](double id, const json::value& bias) {
    const auto number =
        is_false(bias) ? std::optional(-std::numeric_limits<double>::infinity()) : number_of(bias);
    if (!number || id < 0 || id > kAnyInt || id != std::trunc(id)) return false;
    if (std::isfinite(*number) && std::abs(*number) > 100) return false;
    params.logit_bias.emplace_back(static_cast<TokenId>(id), static_cast<float>(*number));
    return true;
  };
  if (value.is_object()) {
    for (const auto& member : value.get_object()) {
      const std::string_view key = member.key();
      const bool digits =
          !key.empty() && key.size() <= 10 &&
          std::all_of(key.begin(), key.end(), [](char c) { return c >= '0' && c <= '9'; });
      if (!digits || !add(std::stod(std::string(key)), member.value())) return malformed;
    }
    return std::nullopt;
  }
  if (!value.is_array()) return malformed;
  for (const json::value& pair : value.get_array()) {
    if (!pair.is_array() || pair.get_array().size() != 2) return malformed;
    const auto id = number_of(pair.get_array()[0]);
    if (!id || !add(*id, pair.get_array()[1])) return malformed;
  }
  return std::nullopt;
}

std::optional<ApiError> read_seed(const json::value& value, SamplingParams& params) {
  if (value.is_uint64()) {
    params.seed = value.get_uint64();
  } else if (value.is_int64()) {
    if (value.get_int64() == -1) {
      params.seed.reset();
    } else {
      params.seed = static_cast<uint64_t>(value.get_int64());
    }
  } else {
    return wrong_type("seed", "an integer of 64 bits");
  }
  return std::nullopt;
}

}  // namespace

std::span<const Field> chat_fields() {
  static const std::vector<Field> fields = with_sampling(kChatOnly);
  return fields;
}
std::span<const Field> completion_fields() {
  static const std::vector<Field> fields = with_sampling(kCompletionOnly);
  return fields;
}
std::span<const Field> tokenize_fields() { return kTokenizeFields; }
std::span<const Field> detokenize_fields() { return kDetokenizeFields; }

std::optional<ApiError> check_fields(const json::object& object, std::span<const Field> fields,
                                     std::vector<std::string>& warnings) {
  for (const auto& member : object) {
    const std::string_view name = member.key();
    const auto field =
        std::find_if(fields.begin(), fields.end(), [&](const Field& f) { return f.name == name; });
    if (field == fields.end()) {
      ApiError error =
          bad_field(std::string(name.substr(0, 80)), fmt::format("unknown field {}", quoted(name)));
      error.code = "unknown_parameter";
      return error;
    }
    if (member.value().is_null()) continue;
    if (auto error = check_field(*field, member.value(), warnings)) return error;
  }
  return std::nullopt;
}

const json::value* find_field(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value == nullptr || value->is_null() ? nullptr : value;
}

bool bool_field(const json::object& object, std::string_view name, bool absent) {
  const json::value* value = find_field(object, name);
  return value == nullptr || !value->is_bool() ? absent : value->get_bool();
}

std::optional<int> int_field(const json::object& object, std::string_view name) {
  const json::value* value = find_field(object, name);
  if (value == nullptr) return std::nullopt;
  const auto number = number_of(*value);
  return number ? std::optional(static_cast<int>(*number)) : std::nullopt;
}

std::string string_field(const json::object& object, std::string_view name) {
  const json::value* value = find_field(object, name);
  return value == nullptr || !value->is_string() ? "" : std::string(value->get_string());
}

std::vector<std::string> strings_field(const json::object& object, std::string_view name) {
  const json::value* value = find_field(object, name);
  if (value == nullptr) return {};
  if (value->is_string()) return {std::string(value->get_string())};
  std::vector<std::string> out;
  for (const json::value& element : value->as_array()) out.emplace_back(element.as_string());
  return out;
}

std::optional<ApiError> read_sampling(const json::object& object, SamplingParams& params) {
  for (const Parameter* p : sampling_parameters()) {
    if (const json::value* value = find_field(object, p->name)) {
      p->set(params, number_of(*value).value_or(0));
    }
  }
  if (const json::value* value = find_field(object, "repetition_penalty")) {
    params.repeat_penalty = static_cast<float>(number_of(*value).value_or(1));
  }
  if (find_field(object, "samplers")) params.samplers = strings_field(object, "samplers");
  if (find_field(object, "dry_sequence_breakers")) {
    params.dry_sequence_breakers = strings_field(object, "dry_sequence_breakers");
  }
  if (const json::value* value = find_field(object, "logit_bias")) {
    if (auto error = read_logit_bias(*value, params)) return error;
  }
  if (const json::value* value = find_field(object, "seed")) return read_seed(*value, params);
  return std::nullopt;
}

std::optional<ApiError> read_tokens(const json::value& value, const std::string& param,
                                    std::vector<TokenId>& out) {
  out.clear();
  for (const json::value& element : value.as_array()) {
    if (!element.is_int64() || element.get_int64() < 0 ||
        element.get_int64() > std::numeric_limits<TokenId>::max()) {
      return wrong_type(param, "a list of token ids");
    }
    out.push_back(static_cast<TokenId>(element.get_int64()));
  }
  return std::nullopt;
}

}  // namespace serval
