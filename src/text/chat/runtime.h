// Runtime: the services that filters, tests, methods and functions get from the interpreter, and
// the tables through which the parser finds them by name.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "text/chat/value.h"

namespace serval::chat {

class Runtime {
 public:
  explicit Runtime(Budget* budget_, int64_t now_) : budget(*budget_), now(now_) {}
  virtual ~Runtime() = default;

  Value string(MarkedText text) { return string_value(&budget, std::move(text)); }
  Value string(std::string text, bool trusted) {
    return string(MarkedText(std::move(text), trusted));
  }
  Value list(std::vector<Value> items) { return list_value(&budget, std::move(items)); }
  Value tuple(std::vector<Value> items) {
    return list_value(&budget, std::move(items), Type::kTuple);
  }
  Value iterator(std::vector<Value> items, const char* name = "generator object");
  Value undefined(std::string why) { return undefined_value(&budget, std::move(why)); }

  // str(value) as a text that keeps its marks.
  MarkedText text_of(const Value& value);
  // All items in order; consumes iterators; fails for what Python cannot iterate.
  std::vector<Value> iterate(const Value& value);
  Value attribute(const Value& object, const Value& name);  // object.name
  Value item(const Value& object, const Value& key);        // object[key]
  // object[start:stop:step]. Fails for what cannot be sliced, unless `constant`: then undefined.
  Value slice(const Value& object, const Value& start, const Value& stop, const Value& step,
              bool constant = false);
  Value call(const Value& callee, Args& args);
  Value call_filter(const Value& name, const Value& subject, Args& args);
  bool call_test(const Value& name, const Value& subject, Args& args);
  bool contains(const Value& container, const Value& item);

  // Keeps an object that may take part in a cycle, so that the rendering can cut it at the end.
  virtual void keep(std::shared_ptr<Object> object) = 0;

  Budget& budget;
  int64_t now;  // seconds since the epoch
};

// Arguments by name or position, as a Python signature would take them.
class Bound {
 public:
  Bound(const char* who, const Args& args, std::initializer_list<const char*> names,
        size_t required = 0);
  const Value* operator[](size_t i) const { return values_[i]; }
  bool has(size_t i) const { return values_[i] && !values_[i]->is(Type::kNone); }
  bool flag(size_t i, bool fallback) const { return values_[i] ? truth(*values_[i]) : fallback; }
  int64_t integer(size_t i, int64_t fallback) const;
  const MarkedText& text(size_t i) const;  // fails unless a string

 private:
  const char* who_;
  std::vector<const Value*> values_;
};

using FilterFunction = Value (*)(Runtime&, const Value& subject, const Args&);
using TestFunction = bool (*)(Runtime&, const Value& subject, const Args&);
using GlobalFunction = Value (*)(Runtime&, Args&);
using MethodFunction = Value (*)(Runtime&, const Value& self, const Args&);

struct FilterEntry {
  std::string_view name;
  FilterFunction function;
};
struct TestEntry {
  std::string_view name;
  TestFunction function;
};
struct MethodEntry {
  std::string_view name;
  MethodFunction function;  // null: would modify, refused by the sandbox
};

FilterFunction find_filter(std::string_view name);
TestFunction find_test(std::string_view name);
std::optional<Value> find_global(Runtime& runtime, std::string_view name);
const MethodEntry* find_method(Type type, std::string_view name);
// The tables, one per subject.
const std::vector<FilterEntry>& text_filters();
const std::vector<FilterEntry>& sequence_filters();
const std::vector<FilterEntry>& number_filters();
const std::vector<FilterEntry>& html_filters();
const std::vector<MethodEntry>& string_methods();
const std::vector<MethodEntry>& string_predicates();
Value make_namespace(Runtime& runtime, const Args& args);
void release_namespace(Object& object);  // forgets its attributes, if it is a namespace
bool set_namespace_attribute(const Value& target, const Value& name, const Value& value);

// Operators shared by expressions and filters.
enum class BinaryOp : uint8_t { kAdd, kSub, kMul, kDiv, kFloorDiv, kMod, kPow };
Value binary(Runtime& runtime, BinaryOp op, const Value& a, const Value& b);
Value negate(const Value& value);

// Every `old`, or the first `count` of them, becomes `with`.
MarkedText replace_text(Runtime& runtime, const MarkedText& text, std::string_view old,
                        const MarkedText& with, int64_t count);
// text % args and text.format(args).
MarkedText format_percent(Runtime& runtime, const MarkedText& format, const Value& args);
MarkedText format_braces(Runtime& runtime, const MarkedText& format, const Args& args);
void write_json(Runtime& runtime, MarkedText& out, const Value& value, const Args& options);
std::string format_time(std::string_view format, int64_t now);

}  // namespace serval::chat
