// The parsed template: plain data, immutable after parsing, shared by all renderings.
//
// Operators of one precedence level, filters and subscripts are kept as lists rather than as nested
// pairs, so that a long chain costs no depth: only brackets, calls and blocks nest.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "text/chat/runtime.h"
#include "text/chat/value.h"

namespace serval::chat {

struct Position {
  uint32_t line = 1;
  uint32_t column = 1;
};

// A name used as a variable, interned per template.
using Symbol = uint32_t;

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Arguments {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<Value, ExprPtr>> keyword;
  ExprPtr star, double_star;  // may be null
};

struct Literal {
  Value value;
};
struct Name {
  Symbol symbol;
  Value undefined;  // what it is when nobody set it
};
struct Sequence {  // [a, b] and (a, b)
  Type type;
  std::vector<ExprPtr> items;
};
struct Mapping {
  std::vector<std::pair<ExprPtr, ExprPtr>> entries;
};
struct Arithmetic {  // first op a op b ..., left to right
  struct Term {
    BinaryOp op;
    ExprPtr operand;
    Position at;
  };
  ExprPtr first;
  std::vector<Term> rest;
};
struct Concat {  // a ~ b ~ c
  std::vector<ExprPtr> parts;
};
enum class CompareOp : uint8_t { kEq, kNe, kLt, kLe, kGt, kGe, kIn, kNotIn };
struct Comparison {  // a < b <= c
  ExprPtr first;
  std::vector<std::pair<CompareOp, ExprPtr>> rest;
};
struct Logic {  // a and b and c
  bool is_and;
  std::vector<ExprPtr> operands;
};
struct Not {
  ExprPtr operand;
};
struct Sign {
  bool minus;
  ExprPtr operand;
};
struct Conditional {              // then if test else otherwise
  ExprPtr test, then, otherwise;  // otherwise may be null
};

struct AttributeOp {  // .name
  Value name;
};
struct ItemOp {  // [key]
  ExprPtr key;
};
struct SliceOp {  // [a:b:c], each may be null
  ExprPtr start, stop, step;
  bool constant = false;  // of literals only: Jinja folds it, and a failure becomes undefined
};
struct CallOp {
  Arguments arguments;
};
struct FilterOp {
  std::string name;
  FilterFunction function;  // null: unknown, an error only if reached
  Arguments arguments;
};
struct TestOp {
  std::string name;
  TestFunction function;
  Arguments arguments;
  bool negated;
};
struct PostfixOp {
  Position at;
  std::variant<AttributeOp, ItemOp, SliceOp, CallOp, FilterOp, TestOp> op;
};
struct Postfix {  // base.a[b](c)|d is e
  ExprPtr base;
  std::vector<PostfixOp> ops;
};

struct Expr {
  Position at;
  std::variant<Literal, Name, Sequence, Mapping, Arithmetic, Concat, Comparison, Logic, Not, Sign,
               Conditional, Postfix>
      node;
};

// Where a value is stored: a name, an attribute of a namespace, or a tuple of targets.
struct Target {
  Position at;
  Symbol symbol = 0;
  Value attribute;  // a string for namespace.attribute
  bool is_tuple = false;
  std::vector<Target> items;
};

struct Statement;
using Body = std::vector<Statement>;

struct Data {  // literal text
  MarkedText text;
};
struct Print {
  ExprPtr value;
};
struct If {
  std::vector<std::pair<ExprPtr, Body>> branches;
  Body otherwise;
};
struct For {
  Target target;
  ExprPtr iterable;
  ExprPtr condition;  // may be null
  Body body, otherwise;
  bool recursive = false;
};
struct Set {
  Target target;
  ExprPtr value;
};
struct SetBlock {
  Target target;
  std::vector<PostfixOp> filters;
  Body body;
};
struct Macro {
  std::string name;
  Symbol symbol = 0;
  std::vector<std::pair<Value, Symbol>> parameters;
  std::vector<ExprPtr> defaults;  // of the last parameters
  bool uses_varargs = false, uses_kwargs = false, uses_caller = false;
  Body body;
};
struct CallBlock {
  std::shared_ptr<const Macro> caller;
  ExprPtr call;  // a Postfix that ends in a CallOp
};
struct FilterBlock {
  std::vector<PostfixOp> filters;
  Body body;
};
struct With {
  std::vector<std::pair<Target, ExprPtr>> bindings;
  Body body;
};
struct Scoped {  // generation, block, autoescape
  Body body;
};
struct Break {};
struct Continue {};

struct Statement {
  Position at;
  std::variant<Data, Print, If, For, Set, SetBlock, std::shared_ptr<const Macro>, CallBlock,
               FilterBlock, With, Scoped, Break, Continue>
      node;
};

struct Template {
  Body body;
  std::vector<std::string> names;  // by Symbol
};

// Symbols every template has.
inline constexpr Symbol kLoopSymbol = 0, kCallerSymbol = 1, kVarargsSymbol = 2, kKwargsSymbol = 3;

// Throws TemplateFailure with the position in its message.
Template parse_template(std::string_view source);

}  // namespace serval::chat
