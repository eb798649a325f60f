// What objects offer: attributes, items, slices, iteration, calls, membership. Lookup order is that
// of Jinja's sandbox: object.name prefers a Python attribute (so "params.items" is the method even
// when the dict has such a key), object['name'] prefers the key. There is no reflection: only the
// attributes in the method tables exist.
#include "text/chat/runtime.h"

#include <algorithm>

#include "text/chat/loop.h"
#include "text/chat/unicode.h"

namespace serval::chat {
namespace {

class BoundMethod : public Special {
 public:
  BoundMethod(Budget* budget, Value self, const MethodEntry* entry)
      : Special(budget, sizeof(BoundMethod)), self_(std::move(self)), entry_(entry) {
    depth = self_.depth() + 1;
    if (depth > kMaxValueDepth) fail_limit("values are nested too deeply");
  }
  std::string repr(Runtime&) override {
    return "<built-in method " + std::string(entry_->name) + " of " +
           serval::chat::type_name(self_) + " object>";
  }
  const char* type_name() const override { return "builtin_function_or_method"; }
  bool callable() const override { return true; }
  Value call(Runtime& runtime, Args& args) override {
    const Value self = self_;
    return entry_->function(runtime, self, args);
  }

 private:
  Value self_;
  const MethodEntry* entry_;
};

std::string describe(const Value& value) {
  return value.is(Type::kNone) ? "None" : std::string(type_name(value)) + " object";
}

[[noreturn]] void fail_undefined(const Value& value) {
  fail(value.object ? value.text().bytes() : "the value is undefined");
}

std::optional<Value> method_of(Runtime& runtime, const Value& object, std::string_view name) {
  if (object.is(Type::kObject)) {
    auto value = object.special().attribute(runtime, name);
    if (value && name.substr(0, 1) == "_" && !value->is(Type::kUndefined)) {
      // Attributes of a namespace may have any name, but the sandbox hides private ones.
      return runtime.undefined("access to attribute '" + std::string(name) + "' is unsafe");
    }
    return value;
  }
  if (object.is(Type::kTuple) && object.list().group) {
    if (name == "grouper") return object.list().items[0];
    if (name == "list") return object.list().items[1];
  }
  const MethodEntry* entry = find_method(object.type, name);
  if (!entry) return std::nullopt;
  if (!entry->function) {
    return runtime.undefined("access to attribute '" + std::string(name) + "' of '" +
                             type_name(object) + "' object is unsafe.");
  }
  return object_value(std::make_shared<BoundMethod>(&runtime.budget, object, entry));
}

std::optional<Value> subscript(Runtime& runtime, const Value& object, const Value& key) {
  if (object.is(Type::kDict)) {
    if (!hashable(key)) return std::nullopt;
    const Value* found = object.dict().find(key);
    return found ? std::optional<Value>(*found) : std::nullopt;
  }
  const auto length = length_of(object);
  if (!key.is_integral() || !length) return std::nullopt;
  int64_t index = key.as_int();
  if (index < 0) index += *length;
  if (index < 0 || index >= *length) return std::nullopt;
  switch (object.type) {
    case Type::kList:
    case Type::kTuple:
      return object.list().items[static_cast<size_t>(index)];
    case Type::kRange:
      return int_value(object.range().start + object.range().step * index,
                       object.trusted && key.trusted);
    case Type::kString: {
      const String& text = object.string();
      if (!text.ascii()) runtime.budget.touch(text.text.size());
      const size_t begin = byte_offset(text.text.view(), text.ascii(), index);
      const size_t end = begin + char_bytes(text.text.view(), begin);
      return runtime.string(text.text.slice(begin, end));
    }
    default:
      return std::nullopt;
  }
}

struct Bounds {
  int64_t start, step, count;
};

// Python's slice.indices().
bool is_slice_index(const Value& value) { return value.is(Type::kNone) || value.is_integral(); }

Bounds slice_bounds(int64_t length, const Value& start, const Value& stop, const Value& step) {
  const auto number = [](const Value& value, int64_t fallback) {
    return value.is(Type::kNone) ? fallback : value.as_int();
  };
  const int64_t by = number(step, 1);
  if (by == 0) fail("slice step cannot be zero");
  const int64_t low = by > 0 ? 0 : -1;
  const int64_t high = by > 0 ? length : length - 1;
  const auto clamp = [&](int64_t i) { return std::clamp(i < 0 ? i + length : i, low, high); };
  const int64_t from = start.is(Type::kNone) ? (by > 0 ? low : high) : clamp(number(start, 0));
  const int64_t to = stop.is(Type::kNone) ? (by > 0 ? high : low) : clamp(number(stop, 0));
  const int64_t span = by > 0 ? to - from : from - to;
  if (span <= 0) return {from, by, 0};
  const uint64_t stride = by > 0 ? static_cast<uint64_t>(by) : 0 - static_cast<uint64_t>(by);
  return {from, by, static_cast<int64_t>((static_cast<uint64_t>(span) - 1) / stride) + 1};
}

MarkedText slice_text(const String& text, const Bounds& bounds) {
  const std::string_view bytes = text.text.view();
  if (bounds.step == 1) {
    const size_t begin = byte_offset(bytes, text.ascii(), bounds.start);
    const size_t end = begin + byte_offset(bytes.substr(begin), text.ascii(), bounds.count);
    return text.text.slice(begin, end);
  }
  std::vector<size_t> starts;  // of each code point
  for (size_t i = 0; i < bytes.size(); i += char_bytes(bytes, i)) starts.push_back(i);
  MarkedText out;
  for (int64_t i = 0; i < bounds.count; ++i) {
    const size_t at = starts[static_cast<size_t>(bounds.start + i * bounds.step)];
    out.append(text.text, at, at + char_bytes(bytes, at));
  }
  return out;
}

}  // namespace

MarkedText Runtime::text_of(const Value& value) {
  MarkedText out;
  print(*this, out, value);
  return out;
}

Value Runtime::iterator(std::vector<Value> items, const char* name) {
  Value value;
  value.type = Type::kIterator;
  value.object = std::make_shared<Items>(&budget, std::move(items), name);
  return value;
}

std::vector<Value> Runtime::iterate(const Value& value) {
  switch (value.type) {
    case Type::kUndefined:
      return {};
    case Type::kList:
    case Type::kTuple:
      budget.step(value.list().items.size() / 8);
      return value.list().items;
    case Type::kDict: {
      std::vector<Value> keys;
      budget.step(value.dict().entries.size() / 8);
      for (const auto& entry : value.dict().entries) keys.push_back(entry.first);
      return keys;
    }
    case Type::kView:
      budget.step(value.items().values.size() / 8);
      return value.items().values;
    case Type::kString:
    case Type::kRange:
    case Type::kIterator: {
      std::vector<Value> out;
      const LoopObject::Pull pull = make_pull(*this, value);
      for (Value item; pull(item);) {
        budget.step();
        budget.expect(out.size() * sizeof(Value));
        out.push_back(item);
      }
      return out;
    }
    default:
      fail("'" + std::string(type_name(value)) + "' object is not iterable");
  }
}

Value Runtime::attribute(const Value& object, const Value& name) {
  if (object.is(Type::kUndefined)) fail_undefined(object);
  const std::string& text = name.text().bytes();
  if (auto value = method_of(*this, object, text)) return *value;
  if (object.is(Type::kDict)) {
    if (const Value* found = object.dict().find(name)) return *found;
  }
  return undefined("'" + describe(object) + "' has no attribute '" + text + "'");
}

Value Runtime::item(const Value& object, const Value& key) {
  if (object.is(Type::kUndefined)) fail_undefined(object);
  if (auto value = subscript(*this, object, key)) return *value;
  if (key.is(Type::kString)) {
    if (auto value = method_of(*this, object, key.text().view())) return *value;
    return undefined("'" + describe(object) + "' has no attribute '" + key.text().bytes() + "'");
  }
  return undefined("'" + describe(object) + "' has no such element");
}

Value Runtime::slice(const Value& object, const Value& start, const Value& stop, const Value& step,
                     bool constant) {
  if (object.is(Type::kUndefined)) fail_undefined(object);
  const auto refuse = [&](std::string why) {
    if (!constant) fail(std::move(why));
    return undefined(std::move(why));
  };
  if (!is_slice_index(start) || !is_slice_index(stop) || !is_slice_index(step)) {
    return refuse("slice indices must be integers or None");
  }
  const auto length = length_of(object);
  switch (object.type) {
    case Type::kString: {
      budget.touch(object.text().size());
      return string(slice_text(object.string(), slice_bounds(*length, start, stop, step)));
    }
    case Type::kList:
    case Type::kTuple: {
      const Bounds b = slice_bounds(*length, start, stop, step);
      budget.step(static_cast<uint64_t>(b.count) / 8);
      std::vector<Value> items;
      items.reserve(static_cast<size_t>(b.count));
      for (int64_t i = 0; i < b.count; ++i) {
        items.push_back(object.list().items[static_cast<size_t>(b.start + i * b.step)]);
      }
      Value out = list_value(&budget, std::move(items), object.type);
      out.trusted = object.trusted;
      return out;
    }
    case Type::kRange: {
      const Bounds b = slice_bounds(*length, start, stop, step);
      const Range& range = object.range();
      Value out = object;
      int64_t first = 0, by = 0, end = 0;
      if (__builtin_mul_overflow(b.start, range.step, &first) ||
          __builtin_add_overflow(first, range.start, &first) ||
          __builtin_mul_overflow(range.step, b.step, &by) ||
          __builtin_mul_overflow(by, b.count, &end) || __builtin_add_overflow(first, end, &end)) {
        fail("integer beyond 64 bits");
      }
      auto part = std::make_shared<Range>(&budget, first, by, b.count);
      part->stop = end;
      out.object = std::move(part);
      return out;
    }
    default:
      return refuse("'" + describe(object) + "' cannot be sliced");
  }
}

Value Runtime::call(const Value& callee, Args& args) {
  if (callee.is(Type::kUndefined)) fail_undefined(callee);
  if (!callee.is(Type::kObject) || !callee.special().callable()) {
    fail("'" + std::string(type_name(callee)) + "' object is not callable");
  }
  const std::shared_ptr<Object> alive = callee.object;
  return callee.special().call(*this, args);
}

Value Runtime::call_filter(const Value& name, const Value& subject, Args& args) {
  const FilterFunction filter = name.is(Type::kString) ? find_filter(name.text().view()) : nullptr;
  if (!filter) fail("no filter named '" + text_of(name).bytes() + "'");
  budget.step();
  return filter(*this, subject, args);
}

bool Runtime::call_test(const Value& name, const Value& subject, Args& args) {
  const TestFunction test = name.is(Type::kString) ? find_test(name.text().view()) : nullptr;
  if (!test) fail("no test named '" + text_of(name).bytes() + "'");
  budget.step();
  return test(*this, subject, args);
}

bool Runtime::contains(const Value& container, const Value& wanted) {
  switch (container.type) {
    case Type::kString:
      if (!wanted.is(Type::kString)) {
        fail("'in <string>' requires string as left operand, not " +
             std::string(type_name(wanted)));
      }
      budget.touch(container.text().size() + wanted.text().size());
      return find_text(container.text().view(), wanted.text().view()) != std::string_view::npos;
    case Type::kDict:
      if (!hashable(wanted)) fail("unhashable type: '" + std::string(type_name(wanted)) + "'");
      return container.dict().find(wanted) != nullptr;
    case Type::kRange: {
      if (!wanted.is_number()) return false;
      const Range& range = container.range();
      budget.step(static_cast<uint64_t>(range.length) / 64);
      for (int64_t i = 0; i < range.length; ++i) {
        if (equal(budget, wanted, int_value(range.start + range.step * i))) return true;
      }
      return false;
    }
    case Type::kList:
    case Type::kTuple: {
      const auto& items = container.list().items;
      budget.step(items.size() / 16);
      return std::any_of(items.begin(), items.end(),
                         [&](const Value& item) { return equal(budget, item, wanted); });
    }
    case Type::kNone:
    case Type::kBool:
    case Type::kInt:
    case Type::kFloat:
    case Type::kObject:
      fail("argument of type '" + std::string(type_name(container)) + "' is not iterable");
    default: {
      const std::vector<Value> items = iterate(container);
      return std::any_of(items.begin(), items.end(),
                         [&](const Value& item) { return equal(budget, item, wanted); });
    }
  }
}

Bound::Bound(const char* who, const Args& args, std::initializer_list<const char*> names,
             size_t required)
    : who_(who), values_(names.size(), nullptr) {
  if (args.positional.size() > names.size()) {
    fail(std::string(who) + "() takes at most " + std::to_string(names.size()) + " argument(s) (" +
         std::to_string(args.positional.size()) + " given)");
  }
  for (size_t i = 0; i < args.positional.size(); ++i) values_[i] = &args.positional[i];
  for (const auto& [key, value] : args.keyword) {
    size_t i = 0;
    for (const char* name : names) {
      if (key.text().view() == name) break;
      ++i;
    }
    if (i == names.size()) {
      fail(std::string(who) + "() got an unexpected keyword argument '" + key.text().bytes() + "'");
    }
    if (values_[i]) fail(std::string(who) + "() got multiple values for an argument");
    values_[i] = &value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (!values_[i]) {
      fail(std::string(who) + "() missing required argument: '" + *(names.begin() + i) + "'");
    }
  }
}

int64_t Bound::integer(size_t i, int64_t fallback) const {
  if (!values_[i]) return fallback;
  if (!values_[i]->is_integral()) {
    fail(std::string(who_) + "(): '" + type_name(*values_[i]) +
         "' object cannot be interpreted as an integer");
  }
  return values_[i]->as_int();
}

const MarkedText& Bound::text(size_t i) const {
  if (!values_[i] || !values_[i]->is(Type::kString)) {
    fail(std::string(who_) + "() argument must be str" +
         (values_[i] ? ", not " + std::string(type_name(*values_[i])) : ""));
  }
  return values_[i]->text();
}

}  // namespace serval::chat
