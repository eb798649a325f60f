// Methods of dict, list, tuple and numbers, and the predicates of str (isdigit and kin). Methods
// that would modify a value are listed without a function: they exist, and the sandbox refuses
// them.
#include <algorithm>
#include <cmath>

#include "text/chat/runtime.h"
#include "text/chat/unicode.h"

namespace serval::chat {
namespace {

Value view(Runtime& runtime, std::vector<Value> items, const char* name) {
  Value value = runtime.iterator(std::move(items), name);
  value.type = Type::kView;
  return value;
}

Value dict_keys(Runtime& runtime, const Value& self, const Args& args) {
  const Bound bound("keys", args, {});
  return view(runtime, runtime.iterate(self), "dict_keys");
}

Value dict_values(Runtime& runtime, const Value& self, const Args& args) {
  const Bound bound("values", args, {});
  std::vector<Value> out;
  runtime.budget.step(self.dict().entries.size() / 8);
  for (const auto& entry : self.dict().entries) out.push_back(entry.second);
  return view(runtime, std::move(out), "dict_values");
}

Value dict_items(Runtime& runtime, const Value& self, const Args& args) {
  const Bound bound("items", args, {});
  std::vector<Value> out;
  runtime.budget.step(self.dict().entries.size() / 4);
  for (const auto& [key, value] : self.dict().entries) out.push_back(runtime.tuple({key, value}));
  return view(runtime, std::move(out), "dict_items");
}

Value dict_get(Runtime&, const Value& self, const Args& args) {
  const Bound bound("get", args, {"key", "default"}, 1);
  if (!hashable(*bound[0])) fail("unhashable type: '" + std::string(type_name(*bound[0])) + "'");
  if (const Value* found = self.dict().find(*bound[0])) return *found;
  return bound[1] ? *bound[1] : none_value();
}

Value copy(Runtime&, const Value& self, const Args& args) {
  const Bound bound("copy", args, {});
  return self;  // values do not change, so a copy cannot be told from the original
}

Value list_index(Runtime& runtime, const Value& self, const Args& args) {
  const Bound bound("index", args, {"value", "start", "stop"}, 1);
  const auto& items = self.list().items;
  const auto size = static_cast<int64_t>(items.size());
  const auto clamp = [&](int64_t at) { return at < 0 ? std::max<int64_t>(at + size, 0) : at; };
  const int64_t stop = std::min(clamp(bound.integer(2, size)), size);
  for (int64_t i = clamp(bound.integer(1, 0)); i < stop; ++i) {
    runtime.budget.touch(128);
    if (equal(runtime.budget, items[static_cast<size_t>(i)], *bound[0])) return int_value(i);
  }
  fail("the value is not in the list");
}

Value list_count(Runtime& runtime, const Value& self, const Args& args) {
  const Bound bound("count", args, {"value"}, 1);
  const auto& items = self.list().items;
  runtime.budget.step(items.size() / 16);
  return int_value(std::count_if(items.begin(), items.end(), [&](const Value& item) {
    return equal(runtime.budget, item, *bound[0]);
  }));
}

Value is_integer(Runtime&, const Value& self, const Args& args) {
  const Bound bound("is_integer", args, {});
  return bool_value(self.as_double() == std::floor(self.as_double()), self.trusted);
}

Value bit_length(Runtime&, const Value& self, const Args& args) {
  const Bound bound("bit_length", args, {});
  auto rest = static_cast<uint64_t>(std::abs(self.as_int()));
  int64_t bits = 0;
  for (; rest != 0; rest >>= 1) ++bits;
  return int_value(bits, self.trusted);
}

// True when the text is not empty and every character satisfies the predicate.
template <bool (*kPredicate)(char32_t), bool kEmpty>
Value every(Runtime& runtime, const Value& self, const Args& args) {
  const Bound bound("str", args, {});
  const std::string_view text = self.text().view();
  runtime.budget.touch(text.size());
  bool all = !text.empty() || kEmpty;
  for (size_t i = 0; all && i < text.size(); i += char_bytes(text, i)) {
    all = kPredicate(decode_at(text, i));
  }
  return bool_value(all, all_trusted(self));
}

bool is_ascii(char32_t c) { return c < 0x80; }

template <bool kLower>
Value has_case(Runtime& runtime, const Value& self, const Args& args) {
  const Bound bound("str", args, {});
  return bool_value(find_test(kLower ? "lower" : "upper")(runtime, self, args), all_trusted(self));
}

Value is_title_case(Runtime& runtime, const Value& self, const Args& args) {
  const Bound bound("istitle", args, {});
  const std::string_view text = self.text().view();
  runtime.budget.touch(text.size());
  bool inside = false, found = false, good = true;
  for (size_t i = 0; good && i < text.size(); i += char_bytes(text, i)) {
    const char32_t c = decode_at(text, i);
    const bool start = is_upper(c) || is_title(c);
    good = start ? !inside : (!is_lower(c) || inside);
    inside = start || is_lower(c);
    found = found || inside;
  }
  return bool_value(good && found, all_trusted(self));
}

Value is_identifier(Runtime&, const Value& self, const Args& args) {
  const Bound bound("isidentifier", args, {});
  const std::string_view text = self.text().view();
  bool good = !text.empty() && !is_numeric(decode_at(text, 0));
  for (size_t i = 0; good && i < text.size(); i += char_bytes(text, i)) {
    const char32_t c = decode_at(text, i);
    good = c == '_' || is_alnum(c);
  }
  return bool_value(good, all_trusted(self));
}

const MethodEntry* find_in(const std::vector<MethodEntry>& table, std::string_view name) {
  const auto found = std::find_if(table.begin(), table.end(),
                                  [name](const MethodEntry& entry) { return entry.name == name; });
  return found == table.end() ? nullptr : &*found;
}

const std::vector<MethodEntry>& methods_of(Type type) {
  static const std::vector<MethodEntry> kNone;
  static const std::vector<MethodEntry> kDict = {
      {"clear", nullptr},  {"copy", copy},         {"get", dict_get},    {"items", dict_items},
      {"keys", dict_keys}, {"pop", nullptr},       {"popitem", nullptr}, {"setdefault", nullptr},
      {"update", nullptr}, {"values", dict_values}};
  static const std::vector<MethodEntry> kList = {
      {"append", nullptr}, {"clear", nullptr},    {"copy", copy},      {"count", list_count},
      {"extend", nullptr}, {"index", list_index}, {"insert", nullptr}, {"pop", nullptr},
      {"remove", nullptr}, {"reverse", nullptr},  {"sort", nullptr}};
  static const std::vector<MethodEntry> kTuple = {{"count", list_count}, {"index", list_index}};
  static const std::vector<MethodEntry> kFloat = {{"is_integer", is_integer}};
  static const std::vector<MethodEntry> kInt = {{"bit_length", bit_length}};
  switch (type) {
    case Type::kDict:
      return kDict;
    case Type::kList:
      return kList;
    case Type::kTuple:
      return kTuple;
    case Type::kFloat:
      return kFloat;
    case Type::kInt:
    case Type::kBool:
      return kInt;
    default:
      return kNone;
  }
}

}  // namespace

const std::vector<MethodEntry>& string_predicates() {
  static const std::vector<MethodEntry> kMethods = {
      {"isalnum", every<is_alnum, false>},
      {"isalpha", every<is_alpha, false>},
      {"isascii", every<is_ascii, true>},
      {"isdecimal", every<is_decimal, false>},
      {"isdigit", every<is_digit, false>},
      {"isidentifier", is_identifier},
      {"islower", has_case<true>},
      {"isnumeric", every<is_numeric, false>},
      {"isprintable", every<is_printable, true>},
      {"isspace", every<is_space, false>},
      {"istitle", is_title_case},
      {"isupper", has_case<false>},
  };
  return kMethods;
}

const MethodEntry* find_method(Type type, std::string_view name) {
  if (type != Type::kString) return find_in(methods_of(type), name);
  const MethodEntry* found = find_in(string_methods(), name);
  return found ? found : find_in(string_predicates(), name);
}

}  // namespace serval::chat
