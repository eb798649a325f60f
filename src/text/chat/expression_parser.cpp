// Recursive descent over the tokens, one function per grammar level, as in the Jinja documentation
// ("Expressions"): ternary, or, and, not, comparison, + -, ~, * / // %, **, sign, primary, postfix,
// filters and tests. Nesting is capped; chains of one level are loops.
#include "text/chat/expression_parser.h"

#include <algorithm>

namespace serval::chat {
namespace {

template <typename Node>
ExprPtr make(Position at, Node node) {
  auto expr = std::make_unique<Expr>();
  expr->at = at;
  expr->node = std::move(node);
  return expr;
}

bool is_literal(const ExprPtr& expr) { return std::holds_alternative<Literal>(expr->node); }

void mark_constant(Postfix& out) {
  auto* slice = out.ops.empty() ? nullptr : std::get_if<SliceOp>(&out.ops[0].op);
  if (!slice || !is_literal(out.base)) return;
  slice->constant = true;
  for (const ExprPtr* part : {&slice->start, &slice->stop, &slice->step}) {
    if (*part && !is_literal(*part)) slice->constant = false;
  }
}

}  // namespace

bool ExpressionParser::at_tuple_end(std::string_view stop) const {
  return current().type == TokenType::kVariableEnd || current().type == TokenType::kBlockEnd ||
         at_op(")") || (!stop.empty() && at_name(stop));
}

ExprPtr ExpressionParser::parse_tuple(bool ternary, std::string_view stop, bool parentheses) {
  const Position at = current().at;
  std::vector<ExprPtr> items;
  bool is_tuple = false;
  while (!at_tuple_end(stop)) {
    items.push_back(ternary ? parse_expression() : parse_or());
    if (!skip_op(",")) break;
    is_tuple = true;
  }
  if (!is_tuple) {
    if (!items.empty()) return std::move(items[0]);
    if (!parentheses) unexpected("an expression");
  }
  return make(at, Sequence{Type::kTuple, std::move(items)});
}

ExprPtr ExpressionParser::parse_expression() {
  const Nesting nesting(expr_depth_, current().at);
  const Position at = current().at;
  const size_t unknown_before = unknown_.size();
  ExprPtr value = parse_or();
  for (int wraps = 0; skip_name("if"); ++wraps) {
    // "a if b if c if d ...": each condition wraps the whole before it.
    if (wraps == kMaxNesting) fail_at(at, "too many conditions in a row");
    unknown_.resize(unknown_before, {{}, {}});  // behind a condition it counts only when reached
    const Restore soft(soft_, true);
    ExprPtr test = parse_or();
    ExprPtr otherwise;
    if (skip_name("else")) otherwise = parse_expression();
    value = make(at, Conditional{std::move(test), std::move(value), std::move(otherwise)});
  }
  return value;
}

ExprPtr ExpressionParser::parse_logic(bool is_and) {
  const Position at = current().at;
  std::vector<ExprPtr> operands;
  do {
    operands.push_back(is_and ? parse_not() : parse_logic(true));
  } while (skip_name(is_and ? "and" : "or"));
  if (operands.size() == 1) return std::move(operands[0]);
  return make(at, Logic{is_and, std::move(operands)});
}

ExprPtr ExpressionParser::parse_or() { return parse_logic(false); }

ExprPtr ExpressionParser::parse_not() {
  const Position at = current().at;
  size_t count = 0;
  while (skip_name("not")) ++count;
  ExprPtr value = parse_comparison();
  if (count == 0) return value;
  value = make(at, Not{std::move(value)});
  return count % 2 == 1 ? std::move(value) : make(at, Not{std::move(value)});
}

std::optional<CompareOp> ExpressionParser::comparison_operator() {
  static constexpr std::pair<std::string_view, CompareOp> kOps[] = {
      {"==", CompareOp::kEq}, {"!=", CompareOp::kNe}, {"<", CompareOp::kLt},
      {"<=", CompareOp::kLe}, {">", CompareOp::kGt},  {">=", CompareOp::kGe}};
  for (const auto& [text, op] : kOps) {
    if (skip_op(text)) return op;
  }
  if (skip_name("in")) return CompareOp::kIn;
  if (at_name("not") && is_name(look(), "in")) {
    next();
    next();
    return CompareOp::kNotIn;
  }
  return std::nullopt;
}

ExprPtr ExpressionParser::parse_comparison() {
  const Position at = current().at;
  ExprPtr first = parse_sum();
  std::vector<std::pair<CompareOp, ExprPtr>> rest;
  while (const auto op = comparison_operator()) rest.emplace_back(*op, parse_sum());
  if (rest.empty()) return first;
  return make(at, Comparison{std::move(first), std::move(rest)});
}

template <typename Parse>
ExprPtr ExpressionParser::parse_arithmetic(
    std::initializer_list<std::pair<const char*, BinaryOp>> ops, Parse parse) {
  const Position at = current().at;
  Arithmetic out{parse(), {}};
  for (bool found = true; found;) {
    found = false;
    for (const auto& [text, op] : ops) {
      const Position op_at = current().at;
      if (!skip_op(text)) continue;
      out.rest.push_back({op, parse(), op_at});
      found = true;
      break;
    }
  }
  if (out.rest.empty()) return std::move(out.first);
  return make(at, std::move(out));
}

ExprPtr ExpressionParser::parse_sum() {
  return parse_arithmetic({{"+", BinaryOp::kAdd}, {"-", BinaryOp::kSub}},
                          [this] { return parse_concat(); });
}

ExprPtr ExpressionParser::parse_concat() {
  const Position at = current().at;
  std::vector<ExprPtr> parts;
  do {
    parts.push_back(parse_product());
  } while (skip_op("~"));
  if (parts.size() == 1) return std::move(parts[0]);
  return make(at, Concat{std::move(parts)});
}

ExprPtr ExpressionParser::parse_product() {
  return parse_arithmetic(
      {{"*", BinaryOp::kMul},
       {"/", BinaryOp::kDiv},
       {"//", BinaryOp::kFloorDiv},
       {"%", BinaryOp::kMod}},
      [this] {
        return parse_arithmetic({{"**", BinaryOp::kPow}}, [this] { return parse_unary(true); });
      });
}

ExprPtr ExpressionParser::parse_unary(bool with_filters) {
  const Position at = current().at;
  ExprPtr value;
  if (at_op("-") || at_op("+")) {
    const Nesting nesting(expr_depth_, at);
    const bool minus = next().text == "-";
    value = make(at, Sign{minus, parse_unary(false)});
  } else {
    value = parse_primary();
  }
  Postfix out{std::move(value), {}};
  parse_postfix(out.ops);
  mark_constant(out);
  if (with_filters) parse_filters(out);
  if (out.ops.empty()) return std::move(out.base);
  return make(at, std::move(out));
}

ExprPtr ExpressionParser::parse_primary() {
  const Token& token = current();
  const Position at = token.at;
  switch (token.type) {
    case TokenType::kName:
      return parse_name();
    case TokenType::kString: {
      std::string text;
      while (current().type == TokenType::kString) text += next().text;
      return make(at, Literal{literal(std::move(text))});
    }
    case TokenType::kInteger:
      return make(at, Literal{int_value(next().integer)});
    case TokenType::kFloat:
      return make(at, Literal{float_value(next().number)});
    default:
      break;
  }
  if (skip_op("(")) {
    ExprPtr value = parse_tuple(true, {}, true);
    expect_op(")");
    return value;
  }
  if (skip_op("[")) return parse_list(at);
  if (skip_op("{")) return parse_dict(at);
  fail_at(at, "unexpected " + describe(token));
}

ExprPtr ExpressionParser::parse_name() {
  const Position at = current().at;
  const std::string name = expect_identifier();
  if (name == "true" || name == "True") return make(at, Literal{bool_value(true)});
  if (name == "false" || name == "False") return make(at, Literal{bool_value(false)});
  if (name == "none" || name == "None") return make(at, Literal{none_value()});
  if (name == "caller") uses_[0] = true;
  if (name == "varargs") uses_[1] = true;
  if (name == "kwargs") uses_[2] = true;
  return make(at, Name{symbol(name), undefined_value(nullptr, "'" + name + "' is undefined")});
}

ExprPtr ExpressionParser::parse_list(Position at) {
  std::vector<ExprPtr> items;
  while (!at_op("]")) {
    items.push_back(parse_expression());
    if (!at_op("]")) expect_op(",");
  }
  expect_op("]");
  return make(at, Sequence{Type::kList, std::move(items)});
}

ExprPtr ExpressionParser::parse_dict(Position at) {
  Mapping out;
  while (!at_op("}")) {
    ExprPtr key = parse_expression();
    expect_op(":");
    out.entries.emplace_back(std::move(key), parse_expression());
    if (!at_op("}")) expect_op(",");
  }
  expect_op("}");
  return make(at, std::move(out));
}

void ExpressionParser::parse_postfix(std::vector<PostfixOp>& ops) {
  for (;;) {
    const Position at = current().at;
    if (skip_op(".")) {
      ops.push_back(parse_attribute(at));
    } else if (skip_op("[")) {
      ops.push_back(parse_subscript(at));
    } else if (at_op("(")) {
      ops.push_back({at, CallOp{parse_arguments()}});
    } else {
      return;
    }
  }
}

PostfixOp ExpressionParser::parse_attribute(Position at) {
  if (current().type == TokenType::kName) return {at, AttributeOp{literal(next().text)}};
  if (current().type != TokenType::kInteger) unexpected("a name or number");
  const Position key_at = current().at;
  return {at, ItemOp{make(key_at, Literal{int_value(next().integer)})}};
}

PostfixOp ExpressionParser::parse_subscript(Position at) {
  std::vector<PostfixOp> parts;
  while (!at_op("]")) {
    if (!parts.empty()) expect_op(",");
    parts.push_back(parse_subscribed(at));
  }
  expect_op("]");
  if (parts.size() == 1) return std::move(parts[0]);
  std::vector<ExprPtr> items;
  for (PostfixOp& part : parts) {
    auto* item = std::get_if<ItemOp>(&part.op);
    if (!item) fail_at(at, "a slice cannot be part of a tuple");
    items.push_back(std::move(item->key));
  }
  return {at, ItemOp{make(at, Sequence{Type::kTuple, std::move(items)})}};
}

PostfixOp ExpressionParser::parse_subscribed(Position at) {
  SliceOp slice;
  if (!at_op(":")) {
    slice.start = parse_expression();
    if (!at_op(":")) return {at, ItemOp{std::move(slice.start)}};
  }
  next();
  const auto ends = [this] { return at_op("]") || at_op(","); };
  if (!at_op(":") && !ends()) slice.stop = parse_expression();
  if (skip_op(":") && !ends()) slice.step = parse_expression();
  return {at, std::move(slice)};
}

Arguments ExpressionParser::parse_arguments() {
  const Position at = current().at;
  const auto ensure = [at](bool ok) {
    if (!ok) fail_at(at, "invalid syntax for function call expression");
  };
  Arguments out;
  expect_op("(");
  bool comma = false;
  while (!at_op(")")) {
    if (comma) {
      expect_op(",");
      if (at_op(")")) break;
    }
    comma = true;
    if (skip_op("*")) {
      ensure(!out.star && !out.double_star);
      out.star = parse_expression();
    } else if (skip_op("**")) {
      ensure(!out.double_star);
      out.double_star = parse_expression();
    } else if (current().type == TokenType::kName && is_op(look(), "=")) {
      ensure(!out.double_star);
      Value name = literal(next().text);
      next();
      for (const auto& [other, value] : out.keyword) {
        ensure(other.text().view() != name.text().view());
      }
      out.keyword.emplace_back(std::move(name), parse_expression());
    } else {
      ensure(!out.star && !out.double_star && out.keyword.empty());
      out.positional.push_back(parse_expression());
    }
  }
  expect_op(")");
  return out;
}

std::string ExpressionParser::dotted_name() {
  std::string name = expect_identifier();
  while (skip_op(".")) name += "." + expect_identifier();
  return name;
}

PostfixOp ExpressionParser::parse_filter() {
  const Position at = current().at;
  FilterOp out;
  out.name = dotted_name();
  out.function = find_filter(out.name);
  if (!out.function && !soft_) unknown_.emplace_back(at, "no filter named '" + out.name + "'");
  if (at_op("(")) out.arguments = parse_arguments();
  return {at, std::move(out)};
}

void ExpressionParser::parse_filters(Postfix& out) {
  for (;;) {
    const Position at = current().at;
    if (skip_op("|")) {
      out.ops.push_back(parse_filter());
    } else if (skip_name("is")) {
      out.ops.push_back(parse_test(at));
    } else if (at_op("(")) {
      out.ops.push_back({at, CallOp{parse_arguments()}});
    } else {
      return;
    }
  }
}

bool ExpressionParser::at_test_argument() const {
  switch (current().type) {
    case TokenType::kName:
      return !at_name("else") && !at_name("or") && !at_name("and");
    case TokenType::kString:
    case TokenType::kInteger:
    case TokenType::kFloat:
      return true;
    default:
      return at_op("[") || at_op("{");
  }
}

PostfixOp ExpressionParser::parse_test(Position at) {
  TestOp out;
  out.negated = skip_name("not");
  const Position name_at = current().at;
  out.name = dotted_name();
  out.function = find_test(out.name);
  if (!out.function && !soft_) unknown_.emplace_back(name_at, "no test named '" + out.name + "'");
  if (at_op("(")) {
    out.arguments = parse_arguments();
  } else if (at_test_argument()) {
    if (at_name("is")) fail_at(current().at, "You cannot chain multiple tests with is");
    const Nesting nesting(expr_depth_, name_at);
    Postfix argument{parse_primary(), {}};
    parse_postfix(argument.ops);
    out.arguments.positional.push_back(argument.ops.empty() ? std::move(argument.base)
                                                            : make(name_at, std::move(argument)));
  }
  return {at, std::move(out)};
}

}  // namespace serval::chat
