// The global functions: range, dict, namespace, cycler, joiner, raise_exception, strftime_now.
// range is lazy, and like the sandbox of Jinja refuses more than 100,000 elements.
#include <locale.h>

#include <algorithm>
#include <ctime>

#include "text/chat/runtime.h"

namespace serval::chat {
namespace {

constexpr int64_t kMaxRange = 100'000;

class Function : public Special {
 public:
  Function(const char* name, GlobalFunction function)
      : Special(nullptr, 0), name_(name), function_(function) {}
  std::string repr(Runtime&) override { return "<function " + std::string(name_) + ">"; }
  const char* type_name() const override { return "function"; }
  bool callable() const override { return true; }
  Value call(Runtime& runtime, Args& args) override { return function_(runtime, args); }

 private:
  const char* name_;
  GlobalFunction function_;
};

class NamespaceObject : public Special {
 public:
  explicit NamespaceObject(Budget* budget)
      : Special(budget, sizeof(NamespaceObject)), attributes_(budget) {}
  std::string repr(Runtime& runtime) override {
    MarkedText out("<Namespace {", true);
    for (size_t i = 0; i < attributes_.entries.size(); ++i) {
      if (i) out.append(", ", true);
      print_repr(runtime, out, attributes_.entries[i].first, ++printing_);
      out.append(": ", true);
      print_repr(runtime, out, attributes_.entries[i].second, printing_);
      --printing_;
    }
    return out.bytes() + "}>";
  }
  const char* type_name() const override { return "Namespace"; }
  std::optional<Value> attribute(Runtime&, std::string_view name) override {
    const Value* found = attributes_.find(name);
    return found ? std::optional<Value>(*found) : std::nullopt;
  }
  void set(const Value& name, const Value& value) { attributes_.set(name, value); }
  void clear() {
    const auto entries = std::move(attributes_.entries);
    attributes_.entries.clear();
  }

 private:
  Dict attributes_;
  int printing_ = 0;  // a namespace may hold itself
};

// The name `self`: it offers the blocks of the template, which here are not called by name.
class TemplateReference : public Special {
 public:
  explicit TemplateReference(Budget* budget) : Special(budget, sizeof(TemplateReference)) {}
  std::string repr(Runtime&) override { return "<TemplateReference None>"; }
  const char* type_name() const override { return "TemplateReference"; }
};

class Cycler : public Special {
 public:
  Cycler(Budget* budget, std::vector<Value> items)
      : Special(budget, sizeof(Cycler) + items.size() * sizeof(Value)), items_(std::move(items)) {
    for (const Value& item : items_) depth = std::max(depth, item.depth() + 1);
    if (depth > kMaxValueDepth) fail_limit("values are nested too deeply");
  }
  std::string repr(Runtime&) override { return "<Cycler>"; }
  const char* type_name() const override { return "Cycler"; }
  std::optional<Value> attribute(Runtime& runtime, std::string_view name) override;
  Value next() {
    const Value value = items_[at_];
    at_ = (at_ + 1) % items_.size();
    return value;
  }
  void reset() { at_ = 0; }

 private:
  std::vector<Value> items_;
  size_t at_ = 0;
};

class CyclerMethod : public Special {
 public:
  CyclerMethod(Budget* budget, Value self, bool reset)
      : Special(budget, sizeof(CyclerMethod)), self_(std::move(self)), reset_(reset) {
    depth = self_.depth() + 1;
    if (depth > kMaxValueDepth) fail_limit("values are nested too deeply");
  }
  std::string repr(Runtime&) override { return "<bound method>"; }
  const char* type_name() const override { return "method"; }
  bool callable() const override { return true; }
  Value call(Runtime&, Args&) override {
    auto& cycler = static_cast<Cycler&>(self_.special());
    if (!reset_) return cycler.next();
    cycler.reset();
    return none_value();
  }

 private:
  Value self_;
  bool reset_;
};

std::optional<Value> Cycler::attribute(Runtime& runtime, std::string_view name) {
  if (name == "current") return items_[at_];
  if (name != "next" && name != "reset") return std::nullopt;
  return object_value(std::make_shared<CyclerMethod>(
      &runtime.budget, object_value(shared_from_this()), name == "reset"));
}

class Joiner : public Special {
 public:
  Joiner(Budget* budget, Value separator)
      : Special(budget, sizeof(Joiner)), separator_(std::move(separator)) {
    depth = separator_.depth() + 1;
    if (depth > kMaxValueDepth) fail_limit("values are nested too deeply");
  }
  std::string repr(Runtime&) override { return "<Joiner>"; }
  const char* type_name() const override { return "Joiner"; }
  bool callable() const override { return true; }
  Value call(Runtime& runtime, Args&) override {
    if (used_) return separator_;
    used_ = true;
    return runtime.string("", true);
  }

 private:
  Value separator_;
  bool used_ = false;
};

Value make_range(Runtime& runtime, Args& args) {
  if (!args.keyword.empty()) fail("range() takes no keyword arguments");
  const Bound bound("range", args, {"start", "stop", "step"}, 1);
  const int64_t first = bound.integer(0, 0);
  const int64_t start = bound[1] ? first : 0;
  const int64_t stop = bound[1] ? bound.integer(1, 0) : first;
  const int64_t step = bound.integer(2, 1);
  if (step == 0) fail("range() arg 3 must not be zero");
  const bool empty = step > 0 ? start >= stop : start <= stop;
  int64_t count = 0;
  if (!empty) {
    const uint64_t span = step > 0 ? static_cast<uint64_t>(stop) - static_cast<uint64_t>(start)
                                   : static_cast<uint64_t>(start) - static_cast<uint64_t>(stop);
    const uint64_t stride =
        step > 0 ? static_cast<uint64_t>(step) : 0 - static_cast<uint64_t>(step);
    const uint64_t items = (span - 1) / stride + 1;
    if (items > kMaxRange) {
      fail("Range too big. The sandbox blocks ranges larger than " + std::to_string(kMaxRange));
    }
    count = static_cast<int64_t>(items);
  }
  auto range = std::make_shared<Range>(&runtime.budget, start, step, count);
  range->stop = stop;
  Value value;
  value.type = Type::kRange;
  for (const Value& argument : args.positional) value.trusted = value.trusted && argument.trusted;
  value.object = std::move(range);
  return value;
}

// dict(mapping or pairs, **more), also of namespace().
template <typename Set>
void fill(Runtime& runtime, const Args& args, Set set) {
  if (args.positional.size() > 1) fail("dict expected at most 1 argument");
  if (!args.positional.empty()) {
    const Value& from = args.positional[0];
    if (from.is(Type::kDict)) {
      for (const auto& [key, value] : from.dict().entries) set(key, value);
    } else {
      for (const Value& pair : runtime.iterate(from)) {
        const std::vector<Value> two = runtime.iterate(pair);
        if (two.size() != 2) fail("dictionary update sequence element must have length 2");
        if (!hashable(two[0])) fail("unhashable type: '" + std::string(type_name(two[0])) + "'");
        set(two[0], two[1]);
      }
    }
  }
  for (const auto& [key, value] : args.keyword) set(key, value);
}

Value make_dict(Runtime& runtime, Args& args) {
  auto dict = std::make_shared<Dict>(&runtime.budget);
  fill(runtime, args, [&](const Value& key, const Value& value) { dict->set(key, value); });
  Value value;
  value.type = Type::kDict;
  value.object = std::move(dict);
  return value;
}

Value namespace_function(Runtime& runtime, Args& args) {
  auto object = std::make_shared<NamespaceObject>(&runtime.budget);
  runtime.keep(object);
  fill(runtime, args, [&](const Value& key, const Value& value) { object->set(key, value); });
  return object_value(object);
}

Value make_cycler(Runtime& runtime, Args& args) {
  if (args.positional.empty()) fail("at least one item has to be provided");
  if (!args.keyword.empty()) fail("cycler() takes no keyword arguments");
  return object_value(std::make_shared<Cycler>(&runtime.budget, args.positional));
}

Value make_joiner(Runtime& runtime, Args& args) {
  const Bound bound("joiner", args, {"sep"});
  return object_value(
      std::make_shared<Joiner>(&runtime.budget, bound[0] ? *bound[0] : runtime.string(", ", true)));
}

Value raise_exception(Runtime& runtime, Args& args) {
  const Bound bound("raise_exception", args, {"message"}, 1);
  throw TemplateFailure{runtime.text_of(*bound[0]).bytes(), ErrorCode::kInvalidArgument, true};
}

Value strftime_now(Runtime& runtime, Args& args) {
  const Bound bound("strftime_now", args, {"format"}, 1);
  return runtime.string(format_time(bound.text(0).view(), runtime.now),
                        bound.text(0).all_trusted());
}

constexpr std::pair<std::string_view, GlobalFunction> kGlobals[] = {
    {"range", make_range},          {"dict", make_dict},     {"namespace", namespace_function},
    {"cycler", make_cycler},        {"joiner", make_joiner}, {"raise_exception", raise_exception},
    {"strftime_now", strftime_now},
};

}  // namespace

std::optional<Value> find_global(Runtime& runtime, std::string_view name) {
  if (name == "self") return object_value(std::make_shared<TemplateReference>(&runtime.budget));
  for (const auto& [key, function] : kGlobals) {
    if (key == name) return object_value(std::make_shared<Function>(key.data(), function));
  }
  return std::nullopt;
}

bool set_namespace_attribute(const Value& target, const Value& name, const Value& value) {
  auto* object =
      target.is(Type::kObject) ? dynamic_cast<NamespaceObject*>(&target.special()) : nullptr;
  if (object) object->set(name, value);
  return object != nullptr;
}

void release_namespace(Object& object) {
  if (auto* found = dynamic_cast<NamespaceObject*>(&object)) found->clear();
}

std::string format_time(std::string_view format, int64_t now) {
  // What Python leaves empty or fills itself for a time without zone.
  std::string plain;
  for (size_t i = 0; i < format.size(); ++i) {
    const char next = format[i] == '%' && i + 1 < format.size() ? format[i + 1] : '\0';
    if (next == 'f') {
      plain += "000000";
    } else if (next != 'z' && next != 'Z') {
      plain += format[i];
      if (next == '%') plain += '%';
      if (next != '%') continue;
    }
    ++i;
  }
  if (plain.empty()) return plain;
  if (plain.size() > 1024) fail_limit("the time format is too long");
  const auto seconds = static_cast<time_t>(now);
  struct tm parts {};
  if (!gmtime_r(&seconds, &parts)) fail("the time is out of range");
  static const locale_t kEnglish = newlocale(LC_ALL_MASK, "C", nullptr);
  plain += '.';  // so that an empty result can be told from a full buffer
  std::string out(16 * plain.size() + 256, '\0');
  const size_t size = strftime_l(out.data(), out.size(), plain.c_str(), &parts, kEnglish);
  if (size == 0) fail_limit("the formatted time is too long");
  out.resize(size - 1);
  return out;
}

}  // namespace serval::chat
