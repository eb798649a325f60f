// Filters on sequences: selecting, mapping, sorting, grouping. What Python gives as a generator is
// an iterator here too: readable once, without a length.
#include <algorithm>

#include "text/chat/runtime.h"
#include "text/chat/unicode.h"

namespace serval::chat {
namespace {

// attribute="a.b.0": a path of keys.
class Path {
 public:
  Path(Runtime& runtime, const Value* attribute) {
    if (!attribute || attribute->is(Type::kNone)) return;
    if (!attribute->is(Type::kString)) {
      keys_.push_back(*attribute);
      return;
    }
    const MarkedText& text = attribute->text();
    for (size_t at = 0; at <= text.size();) {
      const size_t dot = std::min(text.view().find('.', at), text.size());
      const std::string part(text.view().substr(at, dot - at));
      const bool digits = !part.empty() && part.size() < 18 &&
                          part.find_first_not_of("0123456789") == std::string::npos;
      keys_.push_back(digits ? int_value(std::stoll(part)) : runtime.string(text.slice(at, dot)));
      at = dot + 1;
    }
  }
  Value get(Runtime& runtime, Value value, const Value* fallback = nullptr) const {
    for (const Value& key : keys_) {
      runtime.budget.step();
      value = runtime.item(value, key);
      if (fallback && value.is(Type::kUndefined)) value = *fallback;
    }
    return value;
  }

 private:
  std::vector<Value> keys_;
};

Value ignore_case(Runtime& runtime, const Value& value) {
  if (!value.is(Type::kString)) return value;
  return runtime.string(to_case(value.text(), Case::kLower));
}

// Stable, and without undefined behaviour when the order is not one (NaN): a merge sort.
template <typename Before>
void sort_stable(Runtime& runtime, std::vector<size_t>& order, Before before) {
  uint64_t levels = 1;
  for (size_t n = order.size(); n > 1; n /= 2) ++levels;
  runtime.budget.step(order.size() * levels / 8);
  std::vector<size_t> merged(order.size());
  for (size_t width = 1; width < order.size(); width *= 2) {
    for (size_t low = 0; low < order.size(); low += 2 * width) {
      const size_t middle = std::min(low + width, order.size());
      const size_t high = std::min(low + 2 * width, order.size());
      size_t a = low, b = middle;
      for (size_t out = low; out < high; ++out) {
        const bool right = a == middle || (b < high && before(order[b], order[a]));
        merged[out] = right ? order[b++] : order[a++];
      }
    }
    order.swap(merged);
  }
}

std::vector<size_t> sorted_order(Runtime& runtime, const std::vector<Value>& keys, bool reverse) {
  std::vector<size_t> order(keys.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  sort_stable(runtime, order, [&](size_t a, size_t b) {
    const auto result = reverse ? compare(runtime.budget, keys[b], keys[a])
                                : compare(runtime.budget, keys[a], keys[b]);
    return result && *result < 0;
  });
  return order;
}

std::vector<Value> pick(const std::vector<Value>& items, const std::vector<size_t>& order) {
  std::vector<Value> out;
  out.reserve(order.size());
  for (const size_t i : order) out.push_back(items[i]);
  return out;
}

Value sort(Runtime& runtime, const Value& subject, const Args& args) {
  const Bound bound("sort", args, {"reverse", "case_sensitive", "attribute"});
  const bool exact = bound.flag(1, false);
  std::vector<Path> paths;
  if (bound.has(2) && bound[2]->is(Type::kString)) {
    const Value comma = runtime.string(",", true);
    Args split;
    split.positional.push_back(comma);
    const Value parts = find_method(Type::kString, "split")->function(runtime, *bound[2], split);
    for (const Value& part : parts.list().items) paths.emplace_back(runtime, &part);
  } else {
    paths.emplace_back(runtime, bound[2]);
  }
  const std::vector<Value> items = runtime.iterate(subject);
  std::vector<Value> keys;
  for (const Value& item : items) {
    std::vector<Value> key;
    for (const Path& path : paths) {
      Value part = path.get(runtime, item);
      key.push_back(exact ? part : ignore_case(runtime, part));
    }
    keys.push_back(key.size() == 1 ? key[0] : runtime.list(std::move(key)));
  }
  return runtime.list(pick(items, sorted_order(runtime, keys, bound.flag(0, false))));
}

Value dictsort(Runtime& runtime, const Value& subject, const Args& args) {
  const Bound bound("dictsort", args, {"case_sensitive", "by", "reverse"});
  const bool exact = bound.flag(0, false);
  const std::string by = bound[1] ? bound.text(1).bytes() : "key";
  if (by != "key" && by != "value") fail("You can only sort by either \"key\" or \"value\"");
  if (!subject.is(Type::kDict)) fail(std::string(type_name(subject)) + " has no items to sort");
  std::vector<Value> items, keys;
  for (const auto& [key, value] : subject.dict().entries) {
    items.push_back(runtime.tuple({key, value}));
    const Value& part = by == "key" ? key : value;
    keys.push_back(exact ? part : ignore_case(runtime, part));
  }
  return runtime.list(pick(items, sorted_order(runtime, keys, bound.flag(2, false))));
}

Value unique(Runtime& runtime, const Value& subject, const Args& args) {
  const Bound bound("unique", args, {"case_sensitive", "attribute"});
  const Path path(runtime, bound[1]);
  std::vector<Value> out;
  Dict seen(&runtime.budget);
  for (const Value& item : runtime.iterate(subject)) {
    runtime.budget.step();
    Value key = path.get(runtime, item);
    if (!bound.flag(0, false)) key = ignore_case(runtime, key);
    if (!hashable(key)) fail("unhashable type: '" + std::string(type_name(key)) + "'");
    if (seen.find(key)) continue;
    seen.set(key, none_value());
    out.push_back(item);
  }
  return runtime.iterator(std::move(out));
}

template <bool kMax>
Value extreme(Runtime& runtime, const Value& subject, const Args& args) {
  const Bound bound("min", args, {"case_sensitive", "attribute"});
  const Path path(runtime, bound[1]);
  const std::vector<Value> items = runtime.iterate(subject);
  if (items.empty()) return runtime.undefined("No aggregated item, sequence was empty.");
  Value best, best_key;
  for (size_t i = 0; i < items.size(); ++i) {
    runtime.budget.step();
    Value key = path.get(runtime, items[i]);
    if (!bound.flag(0, false)) key = ignore_case(runtime, key);
    if (i > 0) {
      const auto order = kMax ? compare(runtime.budget, key, best_key, ">")
                              : compare(runtime.budget, key, best_key, "<");
      if (!order || (kMax ? *order <= 0 : *order >= 0)) continue;
    }
    best = items[i];
    best_key = std::move(key);
  }
  return best;
}

Value groupby(Runtime& runtime, const Value& subject, const Args& args) {
  const Bound bound("groupby", args, {"attribute", "default", "case_sensitive"}, 1);
  const Path path(runtime, bound[0]);
  const Value* fallback = bound.has(1) ? bound[1] : nullptr;
  const std::vector<Value> items = runtime.iterate(subject);
  std::vector<Value> keys;
  for (const Value& item : items) {
    Value key = path.get(runtime, item, fallback);
    keys.push_back(bound.flag(2, false) ? key : ignore_case(runtime, key));
  }
  const std::vector<size_t> order = sorted_order(runtime, keys, false);
  std::vector<Value> out;
  for (size_t i = 0; i < order.size();) {
    std::vector<Value> members;
    const size_t first = order[i];
    for (; i < order.size() && equal(runtime.budget, keys[order[i]], keys[first]); ++i) {
      members.push_back(items[order[i]]);
    }
    const Value grouper = path.get(runtime, items[first], fallback);
    Value group = runtime.tuple({grouper, runtime.list(std::move(members))});
    static_cast<List&>(*group.object).group = true;
    out.push_back(std::move(group));
  }
  return runtime.list(std::move(out));
}

Value join(Runtime& runtime, const Value& subject, const Args& args) {
  const Bound bound("join", args, {"d", "attribute"});
  const MarkedText separator = bound[0] ? runtime.text_of(*bound[0]) : MarkedText();
  const Path path(runtime, bound[1]);
  MarkedText out;
  bool first = true;
  for (const Value& item : runtime.iterate(subject)) {
    if (!first) out.append(separator);
    first = false;
    runtime.budget.step();
    print(runtime, out, path.get(runtime, item));
    runtime.budget.expect(out.size());
  }
  return runtime.string(std::move(out));
}

Value first(Runtime& runtime, const Value& subject, const Args& args) {
  const Bound bound("first", args, {});
  if (subject.is(Type::kIterator)) {
    Items& items = subject.items();
    if (items.next < items.values.size()) return items.values[items.next++];
  } else if (subject.is(Type::kList) || subject.is(Type::kTuple) || subject.is(Type::kString)) {
    if (length_of(subject) != 0) return runtime.item(subject, int_value(0));
  } else {
    const std::vector<Value> items = runtime.iterate(subject);
    if (!items.empty()) return items[0];
  }
  return runtime.undefined("No first item, sequence was empty.");
}

void require_reversible(const Value& subject) {
  if (subject.is(Type::kIterator) || subject.is(Type::kUndefined)) {
    fail("'" + std::string(type_name(subject)) + "' object is not reversible");
  }
}

Value last(Runtime& runtime, const Value& subject, const Args& args) {
  const Bound bound("last", args, {});
  require_reversible(subject);
  if (subject.is(Type::kList) || subject.is(Type::kTuple) || subject.is(Type::kString)) {
    if (length_of(subject) != 0) return runtime.item(subject, int_value(-1));
  } else {
    const std::vector<Value> items = runtime.iterate(subject);
    if (!items.empty()) return items.back();
  }
  return runtime.undefined("No last item, sequence was empty.");
}

Value reverse(Runtime& runtime, const Value& subject, const Args& args) {
  const Bound bound("reverse", args, {});
  if (subject.is(Type::kString)) {
    return runtime.slice(subject, none_value(), none_value(), int_value(-1));
  }
  std::vector<Value> items = runtime.iterate(subject);
  std::reverse(items.begin(), items.end());
  if (subject.is(Type::kIterator) || subject.is(Type::kUndefined)) {
    return runtime.list(std::move(items));
  }
  return runtime.iterator(std::move(items), "list_reverseiterator object");
}

Value length(Runtime&, const Value& subject, const Args& args) {
  const Bound bound("length", args, {});
  const auto size = length_of(subject);
  if (!size) fail("object of type '" + std::string(type_name(subject)) + "' has no len()");
  return int_value(*size,
                   subject.is(Type::kString) ? subject.text().all_trusted() : subject.trusted);
}

Value list(Runtime& runtime, const Value& subject, const Args& args) {
  const Bound bound("list", args, {});
  return runtime.list(runtime.iterate(subject));
}

Value items(Runtime& runtime, const Value& subject, const Args& args) {
  const Bound bound("items", args, {});
  if (subject.is(Type::kUndefined)) return runtime.iterator({});
  if (!subject.is(Type::kDict)) fail("Can only get item pairs from a mapping.");
  std::vector<Value> out;
  for (const auto& [key, value] : subject.dict().entries)
    out.push_back(runtime.tuple({key, value}));
  return runtime.iterator(std::move(out));
}

Value default_filter(Runtime& runtime, const Value& subject, const Args& args) {
  const Bound bound("default", args, {"default_value", "boolean"});
  if (!subject.is(Type::kUndefined) && !(bound.flag(1, false) && !truth(subject))) return subject;
  return bound[0] ? *bound[0] : runtime.string("", true);
}

Value attr(Runtime& runtime, const Value& subject, const Args& args) {
  const Bound bound("attr", args, {"name"}, 1);
  bound.text(0);
  if (subject.is(Type::kUndefined)) return runtime.attribute(subject, *bound[0]);
  if (subject.is(Type::kDict) && !find_method(Type::kDict, bound.text(0).view())) {
    return runtime.undefined("'dict object' has no attribute '" + bound.text(0).bytes() + "'");
  }
  return runtime.attribute(subject, *bound[0]);
}

Value map(Runtime& runtime, const Value& subject, const Args& args) {
  std::vector<Value> out;
  if (!truth(subject)) return runtime.iterator({});
  if (args.positional.empty() && args.find("attribute")) {
    const Bound bound("map", args, {"attribute", "default"});
    const Path path(runtime, bound[0]);
    const Value* fallback = bound.has(1) ? bound[1] : nullptr;
    for (const Value& item : runtime.iterate(subject)) {
      out.push_back(path.get(runtime, item, fallback));
    }
    return runtime.iterator(std::move(out));
  }
  if (args.positional.empty()) fail("map requires a filter argument");
  Args rest = args;
  rest.positional.erase(rest.positional.begin());
  for (const Value& item : runtime.iterate(subject)) {
    out.push_back(runtime.call_filter(args.positional[0], item, rest));
  }
  return runtime.iterator(std::move(out));
}

template <bool kAttribute, bool kKeep>
Value select(Runtime& runtime, const Value& subject, const Args& args) {
  if (!truth(subject)) return runtime.iterator({});
  if (kAttribute && args.positional.empty()) fail("Missing parameter for attribute name");
  const Path path(runtime, kAttribute ? &args.positional[0] : nullptr);
  const size_t test = kAttribute ? 1 : 0;
  const bool tested = args.positional.size() > test;
  Args rest = args;
  rest.positional.erase(
      rest.positional.begin(),
      rest.positional.begin() + static_cast<std::ptrdiff_t>(test + (tested ? 1 : 0)));
  std::vector<Value> out;
  for (const Value& item : runtime.iterate(subject)) {
    runtime.budget.step();
    const Value part = path.get(runtime, item);
    const bool yes = tested ? runtime.call_test(args.positional[test], part, rest) : truth(part);
    if (yes == kKeep) out.push_back(item);
  }
  return runtime.iterator(std::move(out));
}

Value batch(Runtime& runtime, const Value& subject, const Args& args) {
  const Bound bound("batch", args, {"linecount", "fill_with"}, 1);
  const int64_t size = bound.integer(0, 0);
  std::vector<Value> out, row;
  for (const Value& item : runtime.iterate(subject)) {
    if (static_cast<int64_t>(row.size()) == size) {
      out.push_back(runtime.list(std::move(row)));
      row.clear();
    }
    row.push_back(item);
  }
  if (!row.empty()) {
    const int64_t missing = size - static_cast<int64_t>(row.size());
    if (bound.has(1) && missing > 0) {
      runtime.budget.expect(static_cast<uint64_t>(missing) < UINT32_MAX
                                ? static_cast<uint64_t>(missing) * sizeof(Value)
                                : UINT64_MAX);
      row.insert(row.end(), static_cast<size_t>(missing), *bound[1]);
    }
    out.push_back(runtime.list(std::move(row)));
  }
  return runtime.iterator(std::move(out));
}

Value slice(Runtime& runtime, const Value& subject, const Args& args) {
  const Bound bound("slice", args, {"slices", "fill_with"}, 1);
  const int64_t slices = bound.integer(0, 0);
  if (slices == 0) fail("integer division or modulo by zero");
  const std::vector<Value> items = runtime.iterate(subject);
  std::vector<Value> out;
  if (slices > 0) runtime.budget.step(static_cast<uint64_t>(slices));
  const auto size = static_cast<int64_t>(items.size());
  int64_t at = 0;
  for (int64_t i = 0; i < slices; ++i) {
    const bool extra = i < size % slices;
    const int64_t end = at + size / slices + (extra ? 1 : 0);
    std::vector<Value> column(items.begin() + at, items.begin() + end);
    if (bound.has(1) && !extra) column.push_back(*bound[1]);
    out.push_back(runtime.list(std::move(column)));
    at = end;
  }
  return runtime.iterator(std::move(out));
}

Value sum(Runtime& runtime, const Value& subject, const Args& args) {
  const Bound bound("sum", args, {"attribute", "start"});
  const Path path(runtime, bound[0]);
  Value total = bound[1] ? *bound[1] : int_value(0);
  if (total.is(Type::kString)) fail("sum() can't sum strings [use ''.join(seq) instead]");
  for (const Value& item : runtime.iterate(subject)) {
    runtime.budget.step();
    total = binary(runtime, BinaryOp::kAdd, total, path.get(runtime, item));
  }
  return total;
}

}  // namespace

const std::vector<FilterEntry>& sequence_filters() {
  static const std::vector<FilterEntry> kFilters = {
      {"attr", attr},
      {"batch", batch},
      {"count", length},
      {"d", default_filter},
      {"default", default_filter},
      {"dictsort", dictsort},
      {"first", first},
      {"groupby", groupby},
      {"items", items},
      {"join", join},
      {"last", last},
      {"length", length},
      {"list", list},
      {"map", map},
      {"max", extreme<true>},
      {"min", extreme<false>},
      {"reject", select<false, false>},
      {"rejectattr", select<true, false>},
      {"reverse", reverse},
      {"select", select<false, true>},
      {"selectattr", select<true, true>},
      {"slice", slice},
      {"sort", sort},
      {"sum", sum},
      {"unique", unique},
  };
  return kFilters;
}

}  // namespace serval::chat
