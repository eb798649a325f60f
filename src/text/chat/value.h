// Value: what a template computes with. The types are Python's, because templates are written for
// Jinja on Python: int (here 64 bits, overflow is an error), float, str by code point, list, tuple,
// ordered dict. Values are immutable except namespaces, cyclers, joiners and consumed iterators.
//
// Trust: scalars carry one flag, strings one per byte. A value computed from anything outside is
// not trusted; choosing between values (if, ==, indexing) does not change the trust of the chosen
// one.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/chat/budget.h"
#include "text/chat/marked_text.h"

namespace serval::chat {

class Runtime;
struct Args;

enum class Type : uint8_t {
  kUndefined,
  kNone,
  kBool,
  kInt,
  kFloat,
  kString,
  kList,
  kTuple,
  kDict,
  kRange,
  kView,      // dict.keys(), .values(), .items()
  kIterator,  // what map, select, ... give: readable once
  kObject,    // loop, namespace, macro, function, method, cycler, joiner
};

// Containers deeper than this are refused, so that printing, comparing and freeing may recurse.
inline constexpr int kMaxValueDepth = 100;

// Anything that lives on the heap. Bytes are held against the budget for as long as it lives;
// values of the parsed template and of the caller's variables have no budget.
class Object {
 public:
  Object(Budget* budget, uint64_t bytes) : budget_(budget) { grow(bytes); }
  virtual ~Object() {
    if (budget_) budget_->release(bytes_);
  }
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;

  void grow(uint64_t bytes) {
    if (budget_) budget_->hold(bytes);
    bytes_ += bytes;
  }
  int depth = 0;  // levels of containers inside, itself included

 private:
  Budget* budget_;
  uint64_t bytes_ = 0;
};

struct String;
struct List;
struct Dict;
struct Range;
struct Items;
struct Special;

struct Value {
  Type type = Type::kUndefined;
  bool trusted = true;  // of scalars, and of the brackets when a container is printed
  union {
    bool boolean;
    int64_t integer = 0;
    double number;
  };
  std::shared_ptr<Object> object;  // for undefined: a String saying why, or null

  bool is(Type t) const { return type == t; }
  bool is_number() const {
    return type == Type::kInt || type == Type::kFloat || type == Type::kBool;
  }
  bool is_integral() const { return type == Type::kInt || type == Type::kBool; }
  // REQUIRES: is_integral()
  int64_t as_int() const { return type == Type::kBool ? (boolean ? 1 : 0) : integer; }
  // REQUIRES: is_number()
  double as_double() const { return type == Type::kFloat ? number : static_cast<double>(as_int()); }
  // REQUIRES of each: the matching type
  const String& string() const;
  const MarkedText& text() const;
  const List& list() const;  // also of tuples
  const Dict& dict() const;
  const Range& range() const;
  Items& items() const;  // views and iterators
  Special& special() const;
  int depth() const { return object ? object->depth : 0; }
};

struct String : Object {
  String(Budget* budget, MarkedText t, bool is_markup = false);
  MarkedText text;
  int64_t length;  // code points
  bool markup =
      false;  // HTML already escaped (the filters safe, escape): only matters to escape and +
  bool ascii() const { return length == static_cast<int64_t>(text.size()); }
};

struct List : Object {
  List(Budget* budget, std::vector<Value> values);
  std::vector<Value> items;
  bool group = false;  // a (grouper, list) pair of the filter groupby
};

struct Range : Object {
  Range(Budget* budget, int64_t first, int64_t step_, int64_t count)
      : Object(budget, sizeof(Range)), start(first), step(step_), length(count) {}
  int64_t start, step, length;
  int64_t stop = 0;  // as written, for printing
};

struct Items : Object {
  Items(Budget* budget, std::vector<Value> values, const char* python_name);
  std::vector<Value> values;
  size_t next = 0;  // iterators only
  const char* name;
};

struct KeyLess {
  bool operator()(const Value& a, const Value& b) const;
};

// Insertion-ordered. Small ones are searched, larger ones keep an ordered index: no hash to flood.
struct Dict : Object {
  explicit Dict(Budget* budget) : Object(budget, sizeof(Dict)) { depth = 1; }
  std::vector<std::pair<Value, Value>> entries;
  // REQUIRES: hashable(key) for all of these
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
  void set(const Value& key, const Value& value);

 private:
  std::optional<size_t> position(const Value& key) const;
  std::map<Value, size_t, KeyLess> index_;
};

// Things with behaviour of their own.
struct Special : Object, std::enable_shared_from_this<Special> {
  using Object::Object;
  virtual std::string repr(Runtime& runtime) = 0;
  virtual const char* type_name() const = 0;
  virtual std::optional<Value> attribute(Runtime& runtime, std::string_view name);
  virtual bool callable() const { return false; }
  virtual Value call(Runtime& runtime, Args& args);
  virtual std::optional<int64_t> length() { return std::nullopt; }
};

struct Args {
  std::vector<Value> positional;
  std::vector<std::pair<Value, Value>> keyword;  // names keep their trust: dict(**user)
  const Value* find(std::string_view name) const;
};

Value none_value(bool trusted = true);
Value bool_value(bool value, bool trusted = true);
Value int_value(int64_t value, bool trusted = true);
Value float_value(double value, bool trusted = true);
Value string_value(Budget* budget, MarkedText text, bool markup = false);
Value list_value(Budget* budget, std::vector<Value> items, Type type = Type::kList);
Value object_value(std::shared_ptr<Special> object);
Value undefined_value(Budget* budget, std::string why);

const char* type_name(const Value& value);  // as Python says it
bool truth(const Value& value);
bool hashable(const Value& value);
std::optional<int64_t> length_of(const Value& value);  // nullopt: has no len()
// The value and everything printed of it is the author's: used when a result depends on all of it.
bool all_trusted(const Value& value);

bool equal(Budget& budget, const Value& a, const Value& b);
// -1, 0, 1; fails for types Python cannot order; nullopt when a NaN is involved.
std::optional<int> compare(Budget& budget, const Value& a, const Value& b, const char* op = "<");

std::string float_repr(double value);
// str(value) and repr(value), appended.
void print(Runtime& runtime, MarkedText& out, const Value& value);
void print_repr(Runtime& runtime, MarkedText& out, const Value& value, int level = 0);

}  // namespace serval::chat
