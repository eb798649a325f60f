// Statements. Scoping follows Jinja: for, macro, call, filter, with, block set and generation open
// a scope, if does not; a name set in a scope ends with it, and a loop body starts afresh each
// time. Only namespace attributes outlive their block.
#include "text/chat/interpreter.h"

#include <algorithm>

#include "text/chat/lexer.h"
#include "text/chat/loop.h"

namespace serval::chat {
namespace {

constexpr int kMaxJsonDepth = kMaxValueDepth - 1;
// C++ frames per level of nesting the limits allow; a template's own nesting is capped when parsed.
constexpr int kFramesPerLevel = 12;

class MacroObject : public Special {
 public:
  MacroObject(Budget* budget, std::shared_ptr<const Macro> macro, ScopePtr scope)
      : Special(budget, sizeof(MacroObject)), macro_(std::move(macro)), scope_(std::move(scope)) {}

  std::string repr(Runtime&) override { return "<Macro '" + macro_->name + "'>"; }
  const char* type_name() const override { return "Macro"; }
  bool callable() const override { return true; }
  Value call(Runtime& runtime, Args& args) override {
    const auto macro = macro_;
    const auto scope = scope_;
    return static_cast<Interpreter&>(runtime).call_macro(*macro, scope, args);
  }
  std::optional<Value> attribute(Runtime& runtime, std::string_view name) override {
    if (name == "name") return runtime.string(macro_->name, true);
    if (name == "caller") return bool_value(macro_->uses_caller);
    if (name == "catch_kwargs") return bool_value(macro_->uses_kwargs);
    if (name == "catch_varargs") return bool_value(macro_->uses_varargs);
    if (name != "arguments") return std::nullopt;
    std::vector<Value> names;
    for (const auto& parameter : macro_->parameters) names.push_back(parameter.first);
    return runtime.tuple(std::move(names));
  }

 private:
  std::shared_ptr<const Macro> macro_;
  ScopePtr scope_;
};

}  // namespace

class Interpreter::Capture {
 public:
  explicit Capture(Interpreter& in) : in_(in), out_(in.out_), captured_(in.captured_) {
    in.out_ = &text;
    in.captured_ = true;
  }
  ~Capture() {
    in_.out_ = out_;
    in_.captured_ = captured_;
  }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  MarkedText text;

 private:
  Interpreter& in_;
  MarkedText* out_;
  bool captured_;
};

namespace {

// Puts the scope back, whatever happens in between.
class ScopeGuard {
 public:
  ScopeGuard(ScopePtr& scope, ScopePtr inner) : scope_(scope), outer_(std::move(scope)) {
    scope_ = std::move(inner);
  }
  ~ScopeGuard() { scope_ = std::move(outer_); }
  ScopeGuard(const ScopeGuard&) = delete;
  ScopeGuard& operator=(const ScopeGuard&) = delete;

 private:
  ScopePtr& scope_;
  ScopePtr outer_;
};

}  // namespace

void release_references(Object& object) {
  if (auto* scope = dynamic_cast<Scope*>(&object)) {
    const auto variables = std::move(scope->variables);
    scope->variables.clear();
  }
  release_namespace(object);
}

Value from_json(const boost::json::value& json, bool trusted, int level) {
  if (level > kMaxJsonDepth) fail("a variable is nested too deeply");
  switch (json.kind()) {
    case boost::json::kind::null:
      return none_value(trusted);
    case boost::json::kind::bool_:
      return bool_value(json.get_bool(), trusted);
    case boost::json::kind::int64:
      return int_value(json.get_int64(), trusted);
    case boost::json::kind::uint64:
      // Longer ones come from the JSON reader as floating point already.
      if (json.get_uint64() > INT64_MAX)
        return float_value(static_cast<double>(json.get_uint64()), trusted);
      return int_value(static_cast<int64_t>(json.get_uint64()), trusted);
    case boost::json::kind::double_:
      return float_value(json.get_double(), trusted);
    case boost::json::kind::string:
      return string_value(nullptr, MarkedText(std::string(json.get_string()), trusted));
    case boost::json::kind::array: {
      std::vector<Value> items;
      items.reserve(json.get_array().size());
      for (const auto& item : json.get_array())
        items.push_back(from_json(item, trusted, level + 1));
      Value list = list_value(nullptr, std::move(items));
      list.trusted = trusted;
      return list;
    }
    case boost::json::kind::object: {
      auto dict = std::make_shared<Dict>(nullptr);
      for (const auto& [key, item] : json.get_object()) {
        dict->set(string_value(nullptr, MarkedText(std::string(key), trusted)),
                  from_json(item, trusted, level + 1));
      }
      Value value;
      value.type = Type::kDict;
      value.trusted = trusted;
      value.object = std::move(dict);
      return value;
    }
  }
  return none_value(trusted);
}

Interpreter::Interpreter(const Template& source, const Variables& variables, Budget* budget_,
                         int64_t now_)
    : Runtime(budget_, now_),
      source_(source),
      variables_(variables),
      globals_(source.names.size()),
      scope_(std::make_shared<Scope>(budget_, nullptr)),
      max_depth_(budget_->limits().depth * kFramesPerLevel) {}

Interpreter::~Interpreter() {
  // Everything that can be part of a cycle is kept; emptied one by one, nothing recurses.
  release_references(*scope_);
  for (const auto& object : kept_) release_references(*object);
}

MarkedText Interpreter::run() {
  MarkedText out;
  out_ = &out;
  run_body(source_.body);
  return out;
}

void Interpreter::check_output() const {
  if (captured_) return budget.expect(out_->size());
  if (out_->size() > budget.limits().output_bytes) {
    fail_limit("the rendered text is longer than " + std::to_string(budget.limits().output_bytes) +
               " bytes");
  }
}

void Interpreter::emit(const MarkedText& text) {
  budget.touch(text.size());
  out_->append(text);
  check_output();
}

void Interpreter::emit(const Value& value) {
  if (value.is(Type::kString)) return emit(value.text());
  emit(text_of(value));
}

const Value* Interpreter::lookup(Symbol symbol) {
  for (const Scope* scope = scope_.get(); scope; scope = scope->parent.get()) {
    for (const auto& [name, value] : scope->variables) {
      if (name == symbol) return &value;
    }
  }
  auto& [asked, value] = globals_[symbol];
  if (!asked) {
    asked = true;
    const std::string& name = source_.names[symbol];
    if (const auto* json = variables_.values.if_contains(name)) {
      const auto& list = variables_.trusted;
      value = from_json(*json, std::find(list.begin(), list.end(), name) != list.end());
    } else if (auto global = find_global(*this, name)) {
      value = *global;
    }
  }
  return value.is(Type::kUndefined) ? nullptr : &value;
}

void Interpreter::set(Symbol symbol, const Value& value) {
  for (auto& [name, slot] : scope_->variables) {
    if (name == symbol) {
      slot = value;
      return;
    }
  }
  scope_->grow(sizeof(Value));
  scope_->variables.emplace_back(symbol, value);
}

void Interpreter::assign(const Target& target, const Value& value) {
  if (target.is_tuple) {
    std::vector<Value> items = iterate(value);
    at_ = target.at;
    if (items.size() != target.items.size()) {
      fail(items.size() < target.items.size()
               ? "not enough values to unpack (expected " + std::to_string(target.items.size()) +
                     ", got " + std::to_string(items.size()) + ")"
               : "too many values to unpack (expected " + std::to_string(target.items.size()) +
                     ")");
    }
    for (size_t i = 0; i < items.size(); ++i) assign(target.items[i], items[i]);
    return;
  }
  if (!target.attribute.is(Type::kString)) return set(target.symbol, value);
  at_ = target.at;
  const Value* object = lookup(target.symbol);
  if (!object || !set_namespace_attribute(*object, target.attribute, value)) {
    fail("cannot assign attribute on non-namespace object");
  }
}

Interpreter::Flow Interpreter::run_body(const Body& body) {
  const DepthGuard guard_depth(depth_, max_depth_);
  for (const Statement& statement : body) {
    const Flow flow = execute(statement);
    if (flow != Flow::kNormal) return flow;
  }
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::run_scoped(const Body& body) {
  const ScopeGuard guard(scope_, std::make_shared<Scope>(&budget, scope_));
  return run_body(body);
}

Interpreter::Flow Interpreter::execute(const Statement& statement) {
  at_ = statement.at;
  budget.step();
  if (const auto* data = std::get_if<Data>(&statement.node)) {
    emit(data->text);
  } else if (const auto* print = std::get_if<Print>(&statement.node)) {
    const Value value = eval(*print->value);
    at_ = statement.at;
    emit(value);
  } else if (const auto* branch = std::get_if<If>(&statement.node)) {
    return run_if(*branch);
  } else if (const auto* loop = std::get_if<For>(&statement.node)) {
    return run_for(*loop, eval(*loop->iterable), 0);
  } else if (const auto* assignment = std::get_if<Set>(&statement.node)) {
    assign(assignment->target, eval(*assignment->value));
  } else if (const auto* set_block = std::get_if<SetBlock>(&statement.node)) {
    run_set_block(*set_block);
  } else if (const auto* macro = std::get_if<std::shared_ptr<const Macro>>(&statement.node)) {
    run_macro(*macro);
  } else if (const auto* call_block = std::get_if<CallBlock>(&statement.node)) {
    run_call_block(*call_block);
  } else if (const auto* filter = std::get_if<FilterBlock>(&statement.node)) {
    return run_filter_block(*filter);
  } else if (const auto* with = std::get_if<With>(&statement.node)) {
    return run_with(*with);
  } else if (const auto* scoped = std::get_if<Scoped>(&statement.node)) {
    return run_scoped(scoped->body);
  } else if (std::holds_alternative<Break>(statement.node)) {
    return Flow::kBreak;
  } else {
    return Flow::kContinue;
  }
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::run_if(const If& node) {
  for (const auto& [test, body] : node.branches) {
    if (truth(eval(*test))) return run_body(body);
  }
  return run_body(node.otherwise);
}

Interpreter::Flow Interpreter::run_for(const For& node, const Value& iterable, int depth0) {
  LoopObject::Pull pull = make_pull(*this, iterable);
  std::optional<int64_t> length = length_of(iterable);
  const ScopePtr outer = scope_;
  if (node.condition && pull) {  // what is undefined has nothing to pull
    length.reset();
    pull = [this, &node, outer, inner = std::move(pull)](Value& item) {
      while (inner(item)) {
        budget.step();
        const ScopeGuard guard(scope_, std::make_shared<Scope>(&budget, outer));
        assign(node.target, item);
        if (truth(eval(*node.condition))) return true;
      }
      return false;
    };
  }
  auto loop = std::make_shared<LoopObject>(&budget, std::move(pull), length, depth0);
  loop->depth = std::min(iterable.depth() + 1, kMaxValueDepth);
  struct Finish {
    LoopObject& loop;
    ~Finish() { loop.finish(); }
  } finish{*loop};
  if (node.recursive) loop->set_recursion(&node, outer);
  const Value loop_value = object_value(loop);
  bool completed = false;  // the else part runs unless some iteration reached the body's end
  Flow flow = Flow::kNormal;
  while (flow != Flow::kBreak && loop->advance()) {
    budget.step();
    const ScopeGuard guard(scope_, std::make_shared<Scope>(&budget, outer));
    assign(node.target, loop->current());
    set(kLoopSymbol, loop_value);
    flow = run_body(node.body);
    completed = completed || flow == Flow::kNormal;
  }
  loop->finish();
  // break and continue have done their work; in the else part they mean the loop outside.
  return completed ? Flow::kNormal : run_scoped(node.otherwise);
}

Value Interpreter::run_recursive(const For& node, const ScopePtr& scope, const Value& iterable,
                                 int depth0) {
  const DepthGuard guard_depth(depth_, max_depth_);
  if (++calls_ > budget.limits().depth) {
    --calls_;
    fail_limit("loops call themselves too deeply");
  }
  Capture capture(*this);
  const ScopeGuard guard(scope_, scope);
  run_for(node, iterable, depth0);
  --calls_;
  return string(std::move(capture.text));
}

void Interpreter::run_set_block(const SetBlock& node) {
  Value value;
  {
    Capture capture(*this);
    run_scoped(node.body);
    value = string(std::move(capture.text));
  }
  for (const PostfixOp& filter : node.filters) value = apply(filter, value);
  assign(node.target, value);
}

void Interpreter::keep_scope() {
  if (!scope_->kept) keep(scope_);
  scope_->kept = true;
}

void Interpreter::run_macro(const std::shared_ptr<const Macro>& macro) {
  keep_scope();
  set(macro->symbol, object_value(std::make_shared<MacroObject>(&budget, macro, scope_)));
}

void Interpreter::bind_extras(const Macro& macro, const Args& args, size_t given) {
  const size_t wanted = macro.parameters.size();
  std::vector<std::pair<Value, Value>> extra;
  Value caller = undefined("No caller defined");
  for (const auto& [name, value] : args.keyword) {
    const auto match = [&name = name](const auto& p) {
      return p.first.text().view() == name.text().view();
    };
    const auto first = macro.parameters.begin() + static_cast<std::ptrdiff_t>(given);
    if (std::any_of(first, macro.parameters.end(), match)) continue;
    if (name.text().view() == "caller" && macro.uses_caller) {
      caller = value;
    } else if (macro.uses_kwargs) {
      extra.emplace_back(name, value);
    } else {
      fail("macro '" + macro.name + "' takes no keyword argument '" + name.text().bytes() + "'");
    }
  }
  if (args.positional.size() > wanted && !macro.uses_varargs) {
    fail("macro '" + macro.name + "' takes not more than " + std::to_string(wanted) +
         " argument(s)");
  }
  if (macro.uses_caller) set(kCallerSymbol, caller);
  if (macro.uses_kwargs) {
    auto dict = std::make_shared<Dict>(&budget);
    for (const auto& [name, value] : extra) dict->set(name, value);
    Value value;
    value.type = Type::kDict;
    value.object = std::move(dict);
    set(kKwargsSymbol, value);
  }
  if (macro.uses_varargs) {
    set(kVarargsSymbol, tuple({args.positional.begin() + static_cast<std::ptrdiff_t>(given),
                               args.positional.end()}));
  }
}

void Interpreter::bind_parameters(const Macro& macro, const Args& args, size_t given) {
  const size_t wanted = macro.parameters.size();
  const size_t first_default = wanted - macro.defaults.size();
  for (size_t i = 0; i < wanted; ++i) {
    const auto& [name, symbol] = macro.parameters[i];
    const Value* value = i < given ? &args.positional[i] : args.find(name.text().view());
    if (value) {
      set(symbol, *value);
    } else if (i >= first_default) {
      set(symbol, eval(*macro.defaults[i - first_default]));
    } else {
      set(symbol, undefined("parameter '" + name.text().bytes() + "' was not provided"));
    }
  }
}

Value Interpreter::call_macro(const Macro& macro, const ScopePtr& defined_in, const Args& args) {
  const DepthGuard guard_depth(depth_, max_depth_);
  if (calls_ >= budget.limits().depth) fail_limit("macros call each other too deeply");
  ++calls_;
  struct Leave {
    int& calls;
    ~Leave() { --calls; }
  } leave{calls_};
  Capture capture(*this);
  const ScopeGuard guard(scope_, std::make_shared<Scope>(&budget, defined_in));

  const size_t given = std::min(args.positional.size(), macro.parameters.size());
  bind_extras(macro, args, given);
  bind_parameters(macro, args, given);
  run_body(macro.body);
  return string(std::move(capture.text));
}

void Interpreter::run_call_block(const CallBlock& node) {
  const auto& postfix = std::get<Postfix>(node.call->node);
  Value callee = eval(*postfix.base);
  for (size_t i = 0; i + 1 < postfix.ops.size(); ++i) callee = apply(postfix.ops[i], callee);
  Args args = eval_arguments(std::get<CallOp>(postfix.ops.back().op).arguments);
  keep_scope();
  args.keyword.emplace_back(string("caller", true), object_value(std::make_shared<MacroObject>(
                                                        &budget, node.caller, scope_)));
  at_ = postfix.ops.back().at;
  emit(call(callee, args));
}

Interpreter::Flow Interpreter::run_filter_block(const FilterBlock& node) {
  Value value;
  {
    Capture capture(*this);
    const Flow flow = run_scoped(node.body);
    if (flow != Flow::kNormal) return flow;
    value = string(std::move(capture.text));
  }
  for (const PostfixOp& filter : node.filters) value = apply(filter, value);
  emit(value);
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::run_with(const With& node) {
  std::vector<Value> values;
  for (const auto& binding : node.bindings) values.push_back(eval(*binding.second));
  const ScopeGuard guard(scope_, std::make_shared<Scope>(&budget, scope_));
  for (size_t i = 0; i < values.size(); ++i) assign(node.bindings[i].first, values[i]);
  return run_body(node.body);
}

}  // namespace serval::chat
