// Python's data model as far as templates can see it: truth, equality, order; value_print.cpp has
// str() and repr(). Recursion is bounded by kMaxValueDepth, work by the budget.
#include "text/chat/value.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "text/chat/runtime.h"
#include "text/chat/unicode.h"

namespace serval::chat {
namespace {

int depth_above(const std::vector<Value>& items) {
  int depth = 0;
  for (const Value& item : items) depth = std::max(depth, item.depth());
  if (depth >= kMaxValueDepth) fail_limit("values are nested too deeply");
  return depth + 1;
}

template <typename T>
const T& as(const Value& value) {
  SERVAL_CHECK(value.object != nullptr);
  return static_cast<const T&>(*value.object);
}

int key_class(const Value& value) {
  switch (value.type) {
    case Type::kNone:
      return 0;
    case Type::kBool:
    case Type::kInt:
    case Type::kFloat:
      return 1;
    case Type::kString:
      return 2;
    case Type::kTuple:
      return 3;
    case Type::kUndefined:
      return 4;
    default:
      return 5;
  }
}

template <typename T>
int three_way(const T& a, const T& b) {
  return a < b ? -1 : (b < a ? 1 : 0);
}

int number_order(const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) return three_way(a.as_int(), b.as_int());
  // x86's long double holds every int64 and every double exactly.
  const auto wide = [](const Value& v) {
    return v.is_integral() ? static_cast<long double>(v.as_int())
                           : static_cast<long double>(v.number);
  };
  return three_way(wide(a), wide(b));
}

int key_order(const Value& a, const Value& b) {
  const int kind = key_class(a);
  if (kind != key_class(b)) return three_way(kind, key_class(b));
  if (kind == 1) return number_order(a, b);
  if (kind == 2) return three_way(a.text().bytes(), b.text().bytes());
  if (kind == 3) {
    const auto& x = a.list().items;
    const auto& y = b.list().items;
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      if (const int order = key_order(x[i], y[i])) return order;
    }
    return three_way(x.size(), y.size());
  }
  return kind == 5 ? three_way(a.object.get(), b.object.get()) : 0;
}

}  // namespace

const String& Value::string() const { return as<String>(*this); }
const MarkedText& Value::text() const { return as<String>(*this).text; }
const List& Value::list() const { return as<List>(*this); }
const Dict& Value::dict() const { return as<Dict>(*this); }
const Range& Value::range() const { return as<Range>(*this); }
Items& Value::items() const { return static_cast<Items&>(*object); }
Special& Value::special() const { return static_cast<Special&>(*object); }

String::String(Budget* budget, MarkedText t, bool is_markup)
    : Object(budget, sizeof(String) + t.size()),
      text(std::move(t)),
      length(count_chars(text.view())),
      markup(is_markup) {}

List::List(Budget* budget, std::vector<Value> values)
    : Object(budget, sizeof(List) + values.size() * sizeof(Value)), items(std::move(values)) {
  depth = depth_above(items);
}

Items::Items(Budget* budget, std::vector<Value> list, const char* python_name)
    : Object(budget, sizeof(Items) + list.size() * sizeof(Value)),
      values(std::move(list)),
      name(python_name) {
  depth = depth_above(values);
}

bool KeyLess::operator()(const Value& a, const Value& b) const { return key_order(a, b) < 0; }

std::optional<size_t> Dict::position(const Value& key) const {
  if (!index_.empty()) {
    const auto found = index_.find(key);
    if (found == index_.end()) return std::nullopt;
    return found->second;
  }
  for (size_t i = 0; i < entries.size(); ++i) {
    if (key_order(entries[i].first, key) == 0) return i;
  }
  return std::nullopt;
}

const Value* Dict::find(const Value& key) const {
  const auto at = position(key);
  return at ? &entries[*at].second : nullptr;
}

const Value* Dict::find(std::string_view key) const {
  if (index_.empty()) {
    for (const auto& [k, v] : entries) {
      if (k.is(Type::kString) && k.text().view() == key) return &v;
    }
    return nullptr;
  }
  return find(string_value(nullptr, MarkedText(std::string(key), true)));
}

void Dict::set(const Value& key, const Value& value) {
  constexpr size_t kSearched = 12;
  if (std::max(key.depth(), value.depth()) >= kMaxValueDepth) {
    fail_limit("values are nested too deeply");
  }
  depth = std::max(depth, 1 + std::max(key.depth(), value.depth()));
  if (const auto at = position(key)) {
    entries[*at].second = value;
    return;
  }
  grow(2 * sizeof(Value));
  entries.emplace_back(key, value);
  if (!index_.empty()) {
    index_.emplace(key, entries.size() - 1);
  } else if (entries.size() > kSearched) {
    for (size_t i = 0; i < entries.size(); ++i) index_.emplace(entries[i].first, i);
  }
}

std::optional<Value> Special::attribute(Runtime&, std::string_view) { return std::nullopt; }
Value Special::call(Runtime&, Args&) {
  fail("'" + std::string(type_name()) + "' object is not callable");
}

const Value* Args::find(std::string_view name) const {
  for (const auto& [key, value] : keyword) {
    if (key.text().view() == name) return &value;
  }
  return nullptr;
}

Value none_value(bool trusted) {
  Value v;
  v.type = Type::kNone;
  v.trusted = trusted;
  return v;
}

Value bool_value(bool value, bool trusted) {
  Value v;
  v.type = Type::kBool;
  v.trusted = trusted;
  v.boolean = value;
  return v;
}

Value int_value(int64_t value, bool trusted) {
  Value v;
  v.type = Type::kInt;
  v.trusted = trusted;
  v.integer = value;
  return v;
}

Value float_value(double value, bool trusted) {
  Value v;
  v.type = Type::kFloat;
  v.trusted = trusted;
  v.number = value;
  return v;
}

Value string_value(Budget* budget, MarkedText text, bool markup) {
  Value v;
  v.type = Type::kString;
  v.object = std::make_shared<String>(budget, std::move(text), markup);
  return v;
}

Value list_value(Budget* budget, std::vector<Value> items, Type type) {
  Value v;
  v.type = type;
  v.object = std::make_shared<List>(budget, std::move(items));
  return v;
}

Value object_value(std::shared_ptr<Special> object) {
  Value v;
  v.type = Type::kObject;
  v.object = std::move(object);
  return v;
}

Value undefined_value(Budget* budget, std::string why) {
  Value v;
  v.object = std::make_shared<String>(budget, MarkedText(std::move(why), true));
  return v;
}

const char* type_name(const Value& value) {
  switch (value.type) {
    case Type::kUndefined:
      return "Undefined";
    case Type::kNone:
      return "NoneType";
    case Type::kBool:
      return "bool";
    case Type::kInt:
      return "int";
    case Type::kFloat:
      return "float";
    case Type::kString:
      return value.string().markup ? "Markup" : "str";
    case Type::kList:
      return "list";
    case Type::kTuple:
      return "tuple";
    case Type::kDict:
      return "dict";
    case Type::kRange:
      return "range";
    case Type::kView:
    case Type::kIterator:
      return value.items().name;
    case Type::kObject:
      return value.special().type_name();
  }
  return "object";
}

std::optional<int64_t> length_of(const Value& value) {
  switch (value.type) {
    case Type::kUndefined:
      return 0;
    case Type::kString:
      return value.string().length;
    case Type::kList:
    case Type::kTuple:
      return static_cast<int64_t>(value.list().items.size());
    case Type::kDict:
      return static_cast<int64_t>(value.dict().entries.size());
    case Type::kRange:
      return value.range().length;
    case Type::kView:
      return static_cast<int64_t>(value.items().values.size());
    case Type::kObject:
      return value.special().length();
    default:
      return std::nullopt;
  }
}

bool truth(const Value& value) {
  switch (value.type) {
    case Type::kNone:
      return false;
    case Type::kBool:
      return value.boolean;
    case Type::kInt:
      return value.integer != 0;
    case Type::kFloat:
      return value.number != 0;
    default: {
      const auto length = length_of(value);
      return !length || *length != 0;
    }
  }
}

bool hashable(const Value& value) {
  switch (value.type) {
    case Type::kList:
    case Type::kDict:
    case Type::kView:
      return false;
    case Type::kTuple: {
      const auto& items = value.list().items;
      return std::all_of(items.begin(), items.end(), hashable);
    }
    default:
      return true;
  }
}

bool all_trusted(const Value& value) {
  if (value.is(Type::kString)) return value.text().all_trusted();
  return value.trusted && value.depth() == 0;
}

namespace {

bool equal_items(Budget& budget, const std::vector<Value>& x, const std::vector<Value>& y) {
  if (x.size() != y.size()) return false;
  for (size_t i = 0; i < x.size(); ++i) {
    if (!equal(budget, x[i], y[i])) return false;
  }
  return true;
}

bool equal_dicts(Budget& budget, const Dict& x, const Dict& y) {
  if (x.entries.size() != y.entries.size()) return false;
  for (const auto& [key, value] : x.entries) {
    const Value* other = y.find(key);
    if (!other || !equal(budget, value, *other)) return false;
  }
  return true;
}

}  // namespace

bool equal(Budget& budget, const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    return !(a.is(Type::kFloat) && std::isnan(a.number)) &&
           !(b.is(Type::kFloat) && std::isnan(b.number)) && number_order(a, b) == 0;
  }
  if (a.type != b.type) return false;
  if (a.object && a.object == b.object) return true;
  switch (a.type) {
    case Type::kUndefined:
    case Type::kNone:
      return true;
    case Type::kString:
      budget.touch(a.text().size());
      return a.text().view() == b.text().view();
    case Type::kList:
    case Type::kTuple:
      budget.step(1 + a.list().items.size() / 16);
      return equal_items(budget, a.list().items, b.list().items);
    case Type::kDict:
      budget.step(1 + a.dict().entries.size() / 8);
      return equal_dicts(budget, a.dict(), b.dict());
    case Type::kRange: {
      const Range& x = a.range();
      const Range& y = b.range();
      if (x.length != y.length) return false;
      return x.length == 0 || (x.start == y.start && (x.length == 1 || x.step == y.step));
    }
    default:
      return false;
  }
}

std::optional<int> compare(Budget& budget, const Value& a, const Value& b, const char* op) {
  if (a.is_number() && b.is_number()) {
    if ((a.is(Type::kFloat) && std::isnan(a.number)) ||
        (b.is(Type::kFloat) && std::isnan(b.number))) {
      return std::nullopt;
    }
    return number_order(a, b);
  }
  if (a.is(Type::kString) && b.is(Type::kString)) {
    budget.touch(std::min(a.text().size(), b.text().size()));
    return three_way(a.text().bytes(), b.text().bytes());
  }
  if (a.type == b.type && (a.is(Type::kList) || a.is(Type::kTuple))) {
    budget.step();
    const auto& x = a.list().items;
    const auto& y = b.list().items;
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      if (!equal(budget, x[i], y[i])) return compare(budget, x[i], y[i], op);
    }
    return three_way(x.size(), y.size());
  }
  for (const Value* side : {&a, &b}) {
    if (side->is(Type::kUndefined)) {
      fail(side->object ? side->text().bytes() : "the value is undefined");
    }
  }
  fail("'" + std::string(op) + "' not supported between instances of '" + type_name(a) + "' and '" +
       type_name(b) + "'");
}

}  // namespace serval::chat
