// Interpreter: one rendering of a parsed template. Owned by ChatTemplate::render, one thread.
#pragma once

#include <boost/json.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "text/chat/ast.h"
#include "text/chat/runtime.h"

namespace serval::chat {

// Variables of one block. Lookup goes outwards; assignment stays here, as in Jinja.
struct Scope : Object {
  Scope(Budget* budget, std::shared_ptr<Scope> outer)
      : Object(budget, sizeof(Scope)), parent(std::move(outer)) {}
  std::shared_ptr<Scope> parent;
  std::vector<std::pair<Symbol, Value>> variables;
  bool kept = false;  // a macro refers to it: emptied when the rendering ends
};
// Counts one level of evaluation while it lives.
class DepthGuard {
 public:
  DepthGuard(int& depth, int limit) : depth_(depth) {
    if (depth_ >= limit) fail_limit("the template nests too deeply");
    ++depth_;
  }
  ~DepthGuard() { --depth_; }
  DepthGuard(const DepthGuard&) = delete;
  DepthGuard& operator=(const DepthGuard&) = delete;

 private:
  int& depth_;
};
using ScopePtr = std::shared_ptr<Scope>;

struct Variables {
  const boost::json::object& values;
  const std::vector<std::string>& trusted;  // names whose text is the author's: bos_token, ...
};

class Interpreter : public Runtime {
 public:
  Interpreter(const Template& source, const Variables& variables, Budget* budget, int64_t now);
  ~Interpreter() override;

  MarkedText run();
  Position position() const { return at_; }

  void keep(std::shared_ptr<Object> object) override { kept_.push_back(std::move(object)); }
  // Runs a macro's body; its output is the call's value.
  Value call_macro(const Macro& macro, const ScopePtr& defined_in, const Args& args);
  // loop(iterable) of a recursive loop.
  Value run_recursive(const For& node, const ScopePtr& scope, const Value& iterable, int depth0);

 private:
  enum class Flow { kNormal, kBreak, kContinue };
  class Capture;  // sends output to a text of its own

  // Statements (interpreter.cpp).
  Flow run_body(const Body& body);
  Flow run_scoped(const Body& body);
  Flow execute(const Statement& statement);
  Flow run_if(const If& node);
  Flow run_for(const For& node, const Value& iterable, int depth0);
  void run_set_block(const SetBlock& node);
  void run_macro(const std::shared_ptr<const Macro>& macro);
  // Of a call whose first `given` positional arguments are parameters: what goes to caller, kwargs
  // and varargs; the parameters, in order, as a default may use those before it.
  void bind_extras(const Macro& macro, const Args& args, size_t given);
  void bind_parameters(const Macro& macro, const Args& args, size_t given);
  void run_call_block(const CallBlock& node);
  Flow run_filter_block(const FilterBlock& node);
  Flow run_with(const With& node);
  void keep_scope();
  void emit(const Value& value);
  void emit(const MarkedText& text);
  void check_output() const;
  void assign(const Target& target, const Value& value);
  void set(Symbol symbol, const Value& value);
  const Value* lookup(Symbol symbol);

  // Expressions (expressions.cpp).
  Value eval(const Expr& expr);
  Value eval(Position at, const Literal& node);
  Value eval(Position at, const Name& node);
  Value eval(Position at, const Sequence& node);
  Value eval(Position at, const Mapping& node);
  Value eval(Position at, const Arithmetic& node);
  Value eval(Position at, const Concat& node);
  Value eval(Position at, const Comparison& node);
  Value eval(Position at, const Logic& node);
  Value eval(Position at, const Not& node);
  Value eval(Position at, const Sign& node);
  Value eval(Position at, const Conditional& node);
  Value eval(Position at, const Postfix& node);
  Value apply(const PostfixOp& op, const Value& subject);
  bool compare_values(CompareOp op, const Value& a, const Value& b);
  Args eval_arguments(const Arguments& arguments);

  const Template& source_;
  Variables variables_;
  std::vector<std::pair<bool, Value>> globals_;  // by Symbol, filled when first asked for
  ScopePtr scope_;
  MarkedText* out_ = nullptr;
  bool captured_ = false;  // out_ is a value in the making, not the rendering itself
  Position at_;
  int depth_ = 0;
  int max_depth_;
  int calls_ = 0;
  std::vector<std::shared_ptr<Object>> kept_;
};

// Frees what `object` refers to, so that cycles through it fall apart.
void release_references(Object& object);

Value from_json(const boost::json::value& json, bool trusted, int level = 0);

}  // namespace serval::chat
