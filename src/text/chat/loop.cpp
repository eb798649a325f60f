#include "text/chat/loop.h"

#include <algorithm>

#include "text/chat/unicode.h"

namespace serval::chat {
namespace {

// loop.cycle and loop.changed, bound to their loop.
class LoopMethod : public Special {
 public:
  LoopMethod(Budget* budget, std::shared_ptr<LoopObject> loop, bool cycle)
      : Special(budget, sizeof(LoopMethod)), loop_(std::move(loop)), cycle_(cycle) {
    depth = loop_->depth;
  }
  std::string repr(Runtime&) override { return "<bound method>"; }
  const char* type_name() const override { return "method"; }
  bool callable() const override { return true; }
  Value call(Runtime& runtime, Args& args) override {
    if (!cycle_) return bool_value(loop_->changed(runtime, args.positional));
    if (args.positional.empty()) fail("no items for cycling given");
    const auto count = static_cast<int64_t>(args.positional.size());
    return args.positional[static_cast<size_t>(loop_->index0() % count)];
  }

 private:
  std::shared_ptr<LoopObject> loop_;
  bool cycle_;
};

}  // namespace

LoopObject::LoopObject(Budget* budget, Pull pull, std::optional<int64_t> length, int depth0)
    : Special(budget, sizeof(LoopObject)),
      pull_(std::move(pull)),
      known_length_(length),
      depth0_(depth0) {}

bool LoopObject::peek() {
  if (ahead_at_ < ahead_.size()) return true;
  ahead_.clear();
  ahead_at_ = 0;
  Value item;
  if (!pull_ || !pull_(item)) return false;
  ahead_.push_back(std::move(item));
  return true;
}

bool LoopObject::advance() {
  if (!peek()) return false;
  before_ = std::move(current_);
  current_ = std::move(ahead_[ahead_at_++]);
  ++index0_;
  return true;
}

void LoopObject::finish() {
  finished_ = true;
  pull_ = nullptr;
  last_changed_.reset();
  scope_.reset();
}

std::optional<int64_t> LoopObject::length() {
  if (!known_length_) {
    Value item;
    while (pull_ && pull_(item)) {
      grow(sizeof(Value));
      ahead_.push_back(item);
    }
    known_length_ = index0_ + 1 + static_cast<int64_t>(ahead_.size() - ahead_at_);
  }
  return known_length_;
}

bool LoopObject::changed(Runtime& runtime, const std::vector<Value>& values) {
  bool same = last_changed_ && last_changed_->size() == values.size();
  for (size_t i = 0; same && i < values.size(); ++i) {
    same = equal(runtime.budget, (*last_changed_)[i], values[i]);
  }
  // A finished loop remembers nothing: what it is given could refer back to it.
  if (!same && !finished_) last_changed_ = values;
  return !same;
}

std::string LoopObject::repr(Runtime&) {
  return "<LoopContext " + std::to_string(index0_ + 1) + "/" + std::to_string(*length()) + ">";
}

std::optional<Value> LoopObject::attribute(Runtime& runtime, std::string_view name) {
  if (name == "index0") return int_value(index0_);
  if (name == "index") return int_value(index0_ + 1);
  if (name == "first") return bool_value(index0_ == 0);
  if (name == "last") return bool_value(!peek());
  if (name == "length") return int_value(*length());
  if (name == "revindex") return int_value(*length() - index0_);
  if (name == "revindex0") return int_value(*length() - index0_ - 1);
  if (name == "depth") return int_value(depth0_ + 1);
  if (name == "depth0") return int_value(depth0_);
  if (name == "previtem") {
    return index0_ == 0 ? runtime.undefined("there is no previous item") : before_;
  }
  if (name == "nextitem") {
    return peek() ? ahead_[ahead_at_] : runtime.undefined("there is no next item");
  }
  if (name == "cycle" || name == "changed") {
    return object_value(std::make_shared<LoopMethod>(
        &runtime.budget, std::static_pointer_cast<LoopObject>(shared_from_this()),
        name == "cycle"));
  }
  return std::nullopt;
}

Value LoopObject::call(Runtime& runtime, Args& args) {
  if (!node_ || !scope_) {
    fail("The loop must have the 'recursive' marker to be called recursively.");
  }
  if (args.positional.size() != 1) fail("loop() takes one argument");
  return static_cast<Interpreter&>(runtime).run_recursive(*node_, scope_, args.positional[0],
                                                          depth0_ + 1);
}

LoopObject::Pull make_pull(Runtime& runtime, const Value& iterable) {
  switch (iterable.type) {
    case Type::kUndefined:
      return nullptr;
    case Type::kList:
    case Type::kTuple:
      return [iterable, i = size_t{0}](Value& item) mutable {
        const auto& items = iterable.list().items;
        return i < items.size() && (item = items[i++], true);
      };
    case Type::kRange:
      return [iterable, i = int64_t{0}](Value& item) mutable {
        const Range& range = iterable.range();
        if (i >= range.length) return false;
        item = int_value(range.start + range.step * i++, iterable.trusted);
        return true;
      };
    case Type::kIterator:
      return [iterable](Value& item) {
        Items& items = iterable.items();
        return items.next < items.values.size() && (item = items.values[items.next++], true);
      };
    case Type::kString:
      return [iterable, i = size_t{0}, &runtime](Value& item) mutable {
        const MarkedText& text = iterable.text();
        if (i >= text.size()) return false;
        const size_t end = i + char_bytes(text.view(), i);
        item = runtime.string(text.slice(i, end));
        i = end;
        return true;
      };
    default: {
      const Value items = runtime.list(runtime.iterate(iterable));
      return make_pull(runtime, items);
    }
  }
}

}  // namespace serval::chat
