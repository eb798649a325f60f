// The fields of every request: one table per endpoint says their type, range and what becomes of
// them. Validation reads it, so no field can be accepted without a decision.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "serval/request.h"
#include "server/openai/api_error.h"

namespace serval {

enum class FieldKind : uint8_t {
  kBool,
  kInteger,
  kNumber,
  kString,
  kStrings,  // one, or a list
  kList,
  kObject,
  kAny,  // checked where it is decoded
};

enum class Handling : uint8_t {
  kWorks,
  kIgnored,  // clients send it, it changes nothing here: named in the reply's `warnings`
  kRefused,  // 400, unless the value asks for nothing
};

struct Field {
  std::string_view name;
  FieldKind kind = FieldKind::kAny;
  Handling handling = Handling::kWorks;
  double minimum = 0, maximum = 0;  // numbers; for strings and lists the maximum is their length
  std::string_view meaning;
  bool (*asks_nothing)(const boost::json::value& value) = nullptr;
  std::string_view absent = {};  // the value that leaving it out stands for, as JSON; empty: none
  std::string_view schema = {};  // its JSON Schema where kind and range do not say it all
  bool required = false;
};

// field_tables.cpp. Sampling parameters are appended from sampling/processors.h.
std::span<const Field> chat_fields();
std::span<const Field> completion_fields();
std::span<const Field> native_completion_fields();
std::span<const Field> infill_fields();
std::span<const Field> embedding_fields();
std::span<const Field> tokenize_fields();
std::span<const Field> detokenize_fields();

// Every member known, of its type, finite and in range; none that is required missing. Null means
// absent, as official clients use it. Appends a warning per ignored field.
std::optional<ApiError> check_fields(const boost::json::object& object,
                                     std::span<const Field> fields,
                                     std::vector<std::string>& warnings);

// The JSON Schema (2020-12) of a body of these fields. `defaults`: the model's own sampling.
boost::json::object fields_schema(std::span<const Field> fields, const SamplingParams& defaults);
boost::json::object field_schema(const Field& field, const SamplingParams& defaults);

// After check_fields: null when absent or null.
const boost::json::value* find_field(const boost::json::object& object, std::string_view name);
bool bool_field(const boost::json::object& object, std::string_view name, bool absent);
std::optional<int> int_field(const boost::json::object& object, std::string_view name);
std::string string_field(const boost::json::object& object, std::string_view name);
std::vector<std::string> strings_field(const boost::json::object& object, std::string_view name);

// Reads temperature, top_p, penalties, ... over `params`.
std::optional<ApiError> read_sampling(const boost::json::object& object, SamplingParams& params);
// A JSON array of token ids.
std::optional<ApiError> read_tokens(const boost::json::value& value, const std::string& param,
                                    std::vector<TokenId>& out);

}  // namespace serval
