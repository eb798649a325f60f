// Our values only: depth is that of our own documents. Strings must already be valid UTF-8.
#include "apps/json_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace serval {
namespace {

namespace json = boost::json;

void append_value(std::string& out, const json::value& value, int depth, bool pretty);

void append_number(std::string& out, double number) {
  if (!std::isfinite(number)) {
    out += "null";
    return;
  }
  std::string text = fmt::format("{}", number);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  out += text;
}

void new_line(std::string& out, int depth, bool pretty) {
  if (!pretty) return;
  out += '\n';
  out.append(static_cast<size_t>(depth) * 2, ' ');
}

void append_array(std::string& out, const json::array& array, int depth, bool pretty) {
  const bool flat = std::all_of(array.begin(), array.end(), [](const json::value& v) {
    return v.is_number() || v.is_null() || v.is_bool();
  });
  const bool broken = pretty && !flat;
  out += '[';
  bool first = true;
  for (const json::value& item : array) {
    if (!first) out += flat && pretty ? ", " : ",";
    first = false;
    new_line(out, depth + 1, broken);
    append_value(out, item, depth + 1, pretty);
  }
  if (!array.empty()) new_line(out, depth, broken);
  out += ']';
}

void append_object(std::string& out, const json::object& object, int depth, bool pretty) {
  out += '{';
  bool first = true;
  for (const auto& member : object) {
    if (!first) out += ',';
    first = false;
    new_line(out, depth + 1, pretty);
    out += json::serialize(json::string(member.key()));
    out += pretty ? ": " : ":";
    append_value(out, member.value(), depth + 1, pretty);
  }
  if (!object.empty()) new_line(out, depth, pretty);
  out += '}';
}

void append_value(std::string& out, const json::value& value, int depth, bool pretty) {
  switch (value.kind()) {
    case json::kind::double_:
      append_number(out, value.get_double());
      break;
    case json::kind::array:
      append_array(out, value.get_array(), depth, pretty);
      break;
    case json::kind::object:
      append_object(out, value.get_object(), depth, pretty);
      break;
    default:
      out += json::serialize(value);
  }
}

}  // namespace

std::string pretty_json(const json::value& value) {
  std::string out;
  append_value(out, value, 0, true);
  return out;
}

std::string compact_json(const json::value& value) {
  std::string out;
  append_value(out, value, 0, false);
  return out;
}

}  // namespace serval
