// Reads the tables of field_tables.cpp: one function per question that may be asked of a field.
// What has structure beyond a type and a range (logit_bias, seeds, token lists) is read here too,
// once for all dialects.
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
bool is_false(const json::value& v) { return v.is_bool() && !v.get_bool(); }

std::vector<const Parameter*> sampling_parameters() {
  std::vector<const Parameter*> all;
  for (const Processor& processor : processors()) {
    for (const Parameter& parameter : processor.parameters) all.push_back(&parameter);
  }
  for (const Parameter& parameter : general_parameters()) all.push_back(&parameter);
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

// A list of names, or llama-server's short form: one text with a letter for each.
std::optional<ApiError> read_samplers(const json::value& value, SamplingParams& params) {
  struct Letter {
    char letter;
    std::string_view name;
  };
  constexpr Letter kLetters[] = {{'e', "penalties"}, {'d', "dry"},   {'s', "top_n_sigma"},
                                 {'k', "top_k"},     {'y', "typ_p"}, {'p', "top_p"},
                                 {'m', "min_p"},     {'x', "xtc"},   {'t', "temperature"}};
  params.samplers.clear();
  if (value.is_array()) {
    for (const json::value& name : value.get_array()) {
      params.samplers.emplace_back(name.get_string());
    }
    return std::nullopt;
  }
  for (const char c : value.get_string()) {
    const auto* found = std::find_if(std::begin(kLetters), std::end(kLetters),
                                     [&](const Letter& l) { return l.letter == c; });
    if (found == std::end(kLetters)) {
      return bad_field("samplers",
                       "samplers must be a list of names, or a text of letters from edskypmxt");
    }
    params.samplers.emplace_back(found->name);
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
  for (const Field& field : fields) {
    if (field.required && find_field(object, field.name) == nullptr) {
      return bad_field(std::string(field.name), fmt::format("{} is missing", field.name));
    }
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
  if (const json::value* value = find_field(object, "samplers")) {
    if (auto error = read_samplers(*value, params)) return error;
  }
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
