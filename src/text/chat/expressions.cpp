// Expressions. Operators follow Python: and/or give an operand, comparisons chain, a ternary
// without else gives undefined, ~ joins the printed forms.
#include <algorithm>

#include "text/chat/interpreter.h"
#include "text/chat/lexer.h"

namespace serval::chat {

Value Interpreter::eval(const Expr& expr) {
  if (const auto* literal = std::get_if<Literal>(&expr.node)) return literal->value;
  if (const auto* name = std::get_if<Name>(&expr.node)) return eval(expr.at, *name);
  budget.step();
  const DepthGuard guard(depth_, max_depth_);
  return std::visit([&](const auto& node) { return eval(expr.at, node); }, expr.node);
}

Value Interpreter::eval(Position, const Literal& node) { return node.value; }

Value Interpreter::eval(Position, const Name& node) {
  const Value* value = lookup(node.symbol);
  return value ? *value : node.undefined;
}

Value Interpreter::eval(Position, const Sequence& node) {
  std::vector<Value> items;
  items.reserve(node.items.size());
  for (const ExprPtr& item : node.items) items.push_back(eval(*item));
  return list_value(&budget, std::move(items), node.type);
}

Value Interpreter::eval(Position at, const Mapping& node) {
  auto dict = std::make_shared<Dict>(&budget);
  for (const auto& [key_expr, value_expr] : node.entries) {
    const Value key = eval(*key_expr);
    const Value item = eval(*value_expr);
    at_ = at;
    if (!hashable(key)) fail("unhashable type: '" + std::string(type_name(key)) + "'");
    dict->set(key, item);
  }
  Value value;
  value.type = Type::kDict;
  value.object = std::move(dict);
  return value;
}

Value Interpreter::eval(Position, const Arithmetic& node) {
  Value value = eval(*node.first);
  for (const auto& term : node.rest) {
    const Value right = eval(*term.operand);
    at_ = term.at;
    budget.step();
    value = binary(*this, term.op, value, right);
  }
  return value;
}

Value Interpreter::eval(Position at, const Concat& node) {
  MarkedText out;
  for (const ExprPtr& part : node.parts) {
    const Value value = eval(*part);
    at_ = at;
    budget.expect(out.size());
    print(*this, out, value);
  }
  return string(std::move(out));
}

bool Interpreter::compare_values(CompareOp op, const Value& a, const Value& b) {
  switch (op) {
    case CompareOp::kEq:
      return equal(budget, a, b);
    case CompareOp::kNe:
      return !equal(budget, a, b);
    case CompareOp::kIn:
      return contains(b, a);
    case CompareOp::kNotIn:
      return !contains(b, a);
    case CompareOp::kLt:
      return compare(budget, a, b, "<").value_or(1) < 0;
    case CompareOp::kLe:
      return compare(budget, a, b, "<=").value_or(1) <= 0;
    case CompareOp::kGt:
      return compare(budget, a, b, ">").value_or(-1) > 0;
    case CompareOp::kGe:
      return compare(budget, a, b, ">=").value_or(-1) >= 0;
  }
  return false;
}

Value Interpreter::eval(Position at, const Comparison& node) {
  Value left = eval(*node.first);
  bool trusted = all_trusted(left);
  for (const auto& [op, operand] : node.rest) {
    Value right = eval(*operand);
    trusted = trusted && all_trusted(right);
    at_ = at;
    budget.step();
    if (!compare_values(op, left, right)) return bool_value(false, trusted);
    left = std::move(right);
  }
  return bool_value(true, trusted);
}

Value Interpreter::eval(Position, const Logic& node) {
  Value value;
  for (const ExprPtr& operand : node.operands) {
    value = eval(*operand);
    if (truth(value) != node.is_and) return value;
  }
  return value;
}

Value Interpreter::eval(Position, const Not& node) {
  const Value value = eval(*node.operand);
  return bool_value(!truth(value), all_trusted(value));
}

Value Interpreter::eval(Position at, const Sign& node) {
  const Value value = eval(*node.operand);
  at_ = at;
  if (node.minus) return negate(value);
  if (!value.is_number()) (void)negate(value);  // the same complaint
  return value.is(Type::kBool) ? int_value(value.as_int(), value.trusted) : value;
}

Value Interpreter::eval(Position, const Conditional& node) {
  if (truth(eval(*node.test))) return eval(*node.then);
  if (node.otherwise) return eval(*node.otherwise);
  return undefined("the inline if-expression evaluated to false and no else section was defined.");
}

Value Interpreter::eval(Position, const Postfix& node) {
  Value value = eval(*node.base);
  for (const PostfixOp& op : node.ops) value = apply(op, value);
  return value;
}

Args Interpreter::eval_arguments(const Arguments& arguments) {
  Args out;
  out.positional.reserve(arguments.positional.size());
  for (const ExprPtr& argument : arguments.positional) out.positional.push_back(eval(*argument));
  for (const auto& [name, value] : arguments.keyword) out.keyword.emplace_back(name, eval(*value));
  if (arguments.star) {
    for (Value& item : iterate(eval(*arguments.star))) out.positional.push_back(std::move(item));
  }
  if (arguments.double_star) {
    const Value more = eval(*arguments.double_star);
    if (!more.is(Type::kDict)) fail("argument after ** must be a mapping");
    for (const auto& [key, value] : more.dict().entries) {
      if (!key.is(Type::kString)) fail("keywords must be strings");
      if (out.find(key.text().view())) fail("multiple values for keyword argument");
      out.keyword.emplace_back(key, value);
    }
  }
  return out;
}

Value Interpreter::apply(const PostfixOp& op, const Value& subject) {
  budget.step();
  if (const auto* attribute_op = std::get_if<AttributeOp>(&op.op)) {
    at_ = op.at;
    return attribute(subject, attribute_op->name);
  }
  if (const auto* item_op = std::get_if<ItemOp>(&op.op)) {
    const Value key = eval(*item_op->key);
    at_ = op.at;
    return item(subject, key);
  }
  if (const auto* slice_op = std::get_if<SliceOp>(&op.op)) {
    const auto part = [&](const ExprPtr& expr) { return expr ? eval(*expr) : none_value(); };
    const Value start = part(slice_op->start);
    const Value stop = part(slice_op->stop);
    const Value step = part(slice_op->step);
    at_ = op.at;
    return slice(subject, start, stop, step, slice_op->constant);
  }
  if (const auto* call_op = std::get_if<CallOp>(&op.op)) {
    Args args = eval_arguments(call_op->arguments);
    at_ = op.at;
    return call(subject, args);
  }
  if (const auto* filter = std::get_if<FilterOp>(&op.op)) {
    at_ = op.at;
    if (!filter->function) fail("no filter named '" + filter->name + "'");
    const Args args = eval_arguments(filter->arguments);
    at_ = op.at;
    return filter->function(*this, subject, args);
  }
  const auto& test = std::get<TestOp>(op.op);
  at_ = op.at;
  if (!test.function) fail("no test named '" + test.name + "'");
  const Args args = eval_arguments(test.arguments);
  at_ = op.at;
  return bool_value(test.function(*this, subject, args) != test.negated, all_trusted(subject));
}

}  // namespace serval::chat
