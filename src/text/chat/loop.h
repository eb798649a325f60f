// The variable `loop`, and the iteration behind it.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "text/chat/interpreter.h"

namespace serval::chat {

// Items are pulled one at a time, because a condition of the loop may depend on what its body has
// set; only loop.length and its kin of a filtered loop need the rest at once.
class LoopObject : public Special {
 public:
  using Pull = std::function<bool(Value&)>;

  LoopObject(Budget* budget, Pull pull, std::optional<int64_t> length, int depth0);

  bool advance();  // to the next item
  const Value& current() const { return current_; }
  void finish();
  // For recursive loops.
  void set_recursion(const For* node, ScopePtr scope) {
    node_ = node;
    scope_ = std::move(scope);
  }

  std::string repr(Runtime& runtime) override;
  const char* type_name() const override { return "LoopContext"; }
  std::optional<Value> attribute(Runtime& runtime, std::string_view name) override;
  bool callable() const override { return true; }
  Value call(Runtime& runtime, Args& args) override;
  std::optional<int64_t> length() override;
  bool changed(Runtime& runtime, const std::vector<Value>& values);
  int64_t index0() const { return index0_; }

 private:
  bool peek();

  Pull pull_;
  std::optional<int64_t> known_length_;
  std::vector<Value> ahead_;  // pulled but not yet reached, from ahead_at_ on
  size_t ahead_at_ = 0;
  Value before_, current_;
  int64_t index0_ = -1;
  int depth0_;
  bool finished_ = false;
  std::optional<std::vector<Value>> last_changed_;
  const For* node_ = nullptr;
  ScopePtr scope_;
};

// What a for statement walks over, one item per call.
LoopObject::Pull make_pull(Runtime& runtime, const Value& iterable);

}  // namespace serval::chat
