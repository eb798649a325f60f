// The tests: {{ value is odd }}.
#include <algorithm>
#include <cmath>

#include "text/chat/runtime.h"
#include "text/chat/unicode.h"

namespace serval::chat {
namespace {

void no_arguments(const char* who, const Args& args) { const Bound none(who, args, {}); }

template <Type kType>
bool is_type(Runtime&, const Value& value, const Args& args) {
  no_arguments("test", args);
  return value.is(kType);
}

bool defined(Runtime&, const Value& value, const Args&) { return !value.is(Type::kUndefined); }
bool is_true(Runtime&, const Value& value, const Args&) {
  return value.is(Type::kBool) && value.boolean;
}
bool is_false(Runtime&, const Value& value, const Args&) {
  return value.is(Type::kBool) && !value.boolean;
}
bool number(Runtime&, const Value& value, const Args&) { return value.is_number(); }

bool sequence(Runtime&, const Value& value, const Args&) {
  return length_of(value).has_value() && !value.is(Type::kView) && !value.is(Type::kObject);
}

bool iterable(Runtime&, const Value& value, const Args&) {
  return !value.is(Type::kNone) && !value.is_number() && !value.is(Type::kObject);
}

bool callable(Runtime&, const Value& value, const Args&) {
  // Python's Undefined has a __call__ (which complains), so it counts.
  return value.is(Type::kUndefined) || (value.is(Type::kObject) && value.special().callable());
}

Value remainder(Runtime& runtime, const Value& value, const Value& by) {
  return binary(runtime, BinaryOp::kMod, value, by);
}
bool odd(Runtime& runtime, const Value& value, const Args&) {
  return equal(runtime.budget, remainder(runtime, value, int_value(2)), int_value(1));
}
bool even(Runtime& runtime, const Value& value, const Args&) {
  return equal(runtime.budget, remainder(runtime, value, int_value(2)), int_value(0));
}
bool divisible_by(Runtime& runtime, const Value& value, const Args& args) {
  const Bound bound("divisibleby", args, {"num"}, 1);
  return equal(runtime.budget, remainder(runtime, value, *bound[0]), int_value(0));
}

// All cased characters have the case, and there is one.
bool is_case(Runtime& runtime, const Value& value, bool lower) {
  const MarkedText text = runtime.text_of(value);
  bool found = false;
  for (size_t i = 0; i < text.size(); i += char_bytes(text.view(), i)) {
    const char32_t c = decode_at(text.view(), i);
    if (is_title(c) || (lower ? is_upper(c) : is_lower(c))) return false;
    found = found || (lower ? is_lower(c) : is_upper(c));
  }
  return found;
}
bool lower(Runtime& runtime, const Value& value, const Args&) {
  return is_case(runtime, value, true);
}
bool upper(Runtime& runtime, const Value& value, const Args&) {
  return is_case(runtime, value, false);
}

bool same_as(Runtime&, const Value& value, const Args& args) {
  const Bound bound("sameas", args, {"other"}, 1);
  const Value& other = *bound[0];
  if (value.type != other.type) return false;
  switch (value.type) {
    case Type::kNone:
      return true;
    case Type::kBool:
      return value.boolean == other.boolean;
    case Type::kInt:
      return value.integer == other.integer;
    case Type::kFloat:
      return false;
    default:
      return value.object == other.object;
  }
}

bool escaped(Runtime&, const Value& value, const Args&) {
  return value.is(Type::kString) && value.string().markup;
}

bool in(Runtime& runtime, const Value& value, const Args& args) {
  const Bound bound("in", args, {"seq"}, 1);
  return runtime.contains(*bound[0], value);
}

bool is_filter(Runtime&, const Value& value, const Args&) {
  return value.is(Type::kString) && find_filter(value.text().view()) != nullptr;
}
bool is_test(Runtime&, const Value& value, const Args&) {
  return value.is(Type::kString) && find_test(value.text().view()) != nullptr;
}

bool eq(Runtime& runtime, const Value& value, const Args& args) {
  const Bound bound("eq", args, {"other"}, 1);
  return equal(runtime.budget, value, *bound[0]);
}
bool ne(Runtime& runtime, const Value& value, const Args& args) {
  return !eq(runtime, value, args);
}
std::optional<int> order(Runtime& runtime, const Value& value, const Args& args, const char* op) {
  const Bound bound("compare", args, {"other"}, 1);
  return compare(runtime.budget, value, *bound[0], op);
}
bool lt(Runtime& runtime, const Value& value, const Args& args) {
  return order(runtime, value, args, "<").value_or(1) < 0;
}
bool le(Runtime& runtime, const Value& value, const Args& args) {
  return order(runtime, value, args, "<=").value_or(1) <= 0;
}
bool gt(Runtime& runtime, const Value& value, const Args& args) {
  return order(runtime, value, args, ">").value_or(-1) > 0;
}
bool ge(Runtime& runtime, const Value& value, const Args& args) {
  return order(runtime, value, args, ">=").value_or(-1) >= 0;
}

constexpr TestEntry kTests[] = {
    {"!=", ne},
    {"<", lt},
    {"<=", le},
    {"==", eq},
    {">", gt},
    {">=", ge},
    {"boolean", is_type<Type::kBool>},
    {"callable", callable},
    {"defined", defined},
    {"divisibleby", divisible_by},
    {"eq", eq},
    {"equalto", eq},
    {"escaped", escaped},
    {"even", even},
    {"false", is_false},
    {"filter", is_filter},
    {"float", is_type<Type::kFloat>},
    {"ge", ge},
    {"greaterthan", gt},
    {"gt", gt},
    {"in", in},
    {"integer", is_type<Type::kInt>},
    {"iterable", iterable},
    {"le", le},
    {"lessthan", lt},
    {"lower", lower},
    {"lt", lt},
    {"mapping", is_type<Type::kDict>},
    {"ne", ne},
    {"none", is_type<Type::kNone>},
    {"number", number},
    {"odd", odd},
    {"sameas", same_as},
    {"sequence", sequence},
    {"string", is_type<Type::kString>},
    {"test", is_test},
    {"true", is_true},
    {"undefined", is_type<Type::kUndefined>},
    {"upper", upper},
};

}  // namespace

TestFunction find_test(std::string_view name) {
  const auto* found = std::find_if(std::begin(kTests), std::end(kTests),
                                   [name](const TestEntry& entry) { return entry.name == name; });
  return found == std::end(kTests) ? nullptr : found->function;
}

}  // namespace serval::chat
