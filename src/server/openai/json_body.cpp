// Values are counted before parsing, by their separators: a parsed value takes many times the bytes
// of its text, and the bound must hold before that memory is spent.
#include "server/openai/json_body.h"

#include <fmt/format.h>

#include <boost/json/parse.hpp>

namespace serval {
namespace {

namespace json = boost::json;

size_t count_values(std::string_view text) {
  size_t values = 1;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == ',' || c == '[' || c == '{') {
      ++values;
    }
  }
  return values;
}

}  // namespace

std::optional<ApiError> parse_body(std::string_view body, json::object& out) {
  if (count_values(body) > kJsonValues) {
    return bad_field("", fmt::format("the body holds more than {} JSON values", kJsonValues));
  }
  json::parse_options options;
  options.max_depth = kJsonDepth;
  boost::system::error_code error;
  json::value value = json::parse(body, error, {}, options);
  if (error) {
    return bad_field("", fmt::format("the body is not valid JSON: {}", error.message()));
  }
  if (!value.is_object()) return bad_field("", "the body must be a JSON object");
  out = std::move(value.get_object());
  return std::nullopt;
}

}  // namespace serval
