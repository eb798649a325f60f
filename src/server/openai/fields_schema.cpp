// The tables as JSON Schema. What a table cannot say in numbers stands in the row's own schema.
// Every field may also be null, which means absent.
#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include "sampling/processors.h"
#include "server/openai/fields.h"

namespace serval {
namespace {

namespace json = boost::json;
using K = FieldKind;
using H = Handling;

json::object by_kind(const Field& field) {
  const auto most = static_cast<int64_t>(field.maximum);
  switch (field.kind) {
    case K::kBool:
      return {{"type", "boolean"}};
    case K::kInteger:
      return {
          {"type", "integer"}, {"minimum", static_cast<int64_t>(field.minimum)}, {"maximum", most}};
    case K::kNumber:
      return {{"type", "number"}, {"minimum", field.minimum}, {"maximum", field.maximum}};
    case K::kString:
      return {{"type", "string"}, {"maxLength", most}};
    case K::kStrings:
      return {{"oneOf", json::array{json::object{{"type", "string"}},
                                    json::object{{"type", "array"},
                                                 {"maxItems", most},
                                                 {"items", json::object{{"type", "string"}}}}}}};
    case K::kList:
      return {
          {"type", "array"}, {"minItems", static_cast<int64_t>(field.minimum)}, {"maxItems", most}};
    case K::kObject:
      return {{"type", "object"}};
    case K::kAny:
      break;
  }
  return {};
}

json::object or_null(json::object schema) {
  if (schema.empty()) return schema;
  if (json::value* type = schema.if_contains("type"); type != nullptr && type->is_string()) {
    *type = json::array{*type, "null"};
    return schema;
  }
  return {{"anyOf", json::array{std::move(schema), json::object{{"type", "null"}}}}};
}

void add_default(const Field& field, const SamplingParams& defaults, json::object& schema) {
  if (const Parameter* parameter = find_parameter(field.name)) {
    const double value = parameter->get(defaults);
    schema["default"] =
        parameter->integer ? json::value(static_cast<int64_t>(value)) : json::value(value);
  } else if (!field.absent.empty()) {
    schema["default"] = json::parse(field.absent);
  }
}

}  // namespace

json::object field_schema(const Field& field, const SamplingParams& defaults) {
  if (field.handling == H::kRefused) {
    json::object schema{{"x-serval-handling", "refused"}};
    schema["description"] = field.asks_nothing == nullptr
                                ? "Not supported: 400."
                                : "Not supported: 400, unless the value asks for nothing.";
    return schema;
  }
  json::object schema = by_kind(field);
  if (!field.schema.empty()) {
    const json::value own = json::parse(field.schema);
    for (const auto& member : own.as_object()) schema[member.key()] = member.value();
    if (schema.contains("enum")) schema.erase("maxLength");
  }
  if (!field.required) schema = or_null(std::move(schema));
  if (field.handling == H::kIgnored) {
    schema["description"] = "Accepted, changes nothing here, and is named in `warnings`.";
    schema["x-serval-handling"] = "ignored";
    return schema;
  }
  if (!field.meaning.empty()) schema["description"] = field.meaning;
  add_default(field, defaults, schema);
  return schema;
}

json::object fields_schema(std::span<const Field> fields, const SamplingParams& defaults) {
  json::object properties;
  json::array required;
  for (const Field& field : fields) {
    properties[field.name] = field_schema(field, defaults);
    if (field.required) required.emplace_back(field.name);
  }
  json::object schema{
      {"type", "object"}, {"properties", std::move(properties)}, {"additionalProperties", false}};
  if (!required.empty()) schema["required"] = std::move(required);
  return schema;
}

}  // namespace serval
