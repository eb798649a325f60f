// Recursive descent over the tokens, one function per grammar level, as in the Jinja documentation
// ("Expressions"): ternary, or, and, not, comparison, + -, ~, * / // %, **, sign, primary, postfix,
// filters and tests. Nesting is capped; chains of one level are loops.
#include <algorithm>
#include <unordered_map>

#include "text/chat/ast.h"
#include "text/chat/lexer.h"

namespace serval::chat {
namespace {

constexpr int kMaxNesting = 64;  // of brackets, and apart from them of blocks

class Nesting {
 public:
  Nesting(int& depth, Position at) : depth_(depth) {
    if (++depth_ > kMaxNesting) {
      --depth_;
      fail_at(at, "nested more than " + std::to_string(kMaxNesting) + " levels deep");
    }
  }
  ~Nesting() { --depth_; }
  Nesting(const Nesting&) = delete;
  Nesting& operator=(const Nesting&) = delete;

 private:
  int& depth_;
};

class Restore {  // a flag set for the lifetime of a block
 public:
  Restore(bool& flag, bool value) : flag_(flag), old_(flag) { flag = value; }
  ~Restore() { flag_ = old_; }
  Restore(const Restore&) = delete;
  Restore& operator=(const Restore&) = delete;

 private:
  bool& flag_;
  bool old_;
};

template <typename Node>
ExprPtr make(Position at, Node node) {
  auto expr = std::make_unique<Expr>();
  expr->at = at;
  expr->node = std::move(node);
  return expr;
}

Value literal(std::string text) { return string_value(nullptr, MarkedText(std::move(text), true)); }

class Parser {
 public:
  explicit Parser(std::string_view source) : tokens_(tokenize(source)) {
    for (const char* name : {"loop", "caller", "varargs", "kwargs"}) symbol(name);
  }

  Template run() {
    Template out;
    out.body = parse_body({});
    if (!unknown_.empty()) fail_at(unknown_[0].first, unknown_[0].second);
    out.names = std::move(names_);
    return out;
  }

 private:
  // --- tokens ---
  const Token& current() const { return tokens_[at_]; }
  const Token& look() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  Token& next() {
    Token& token = tokens_[at_];
    if (at_ + 1 < tokens_.size()) ++at_;
    return token;
  }
  static bool is_op(const Token& t, std::string_view op) {
    return t.type == TokenType::kOperator && t.text == op;
  }
  static bool is_name(const Token& t, std::string_view name) {
    return t.type == TokenType::kName && t.text == name;
  }
  bool at_op(std::string_view op) const { return is_op(current(), op); }
  bool at_name(std::string_view name) const { return is_name(current(), name); }
  bool skip_op(std::string_view op) { return at_op(op) && (next(), true); }
  bool skip_name(std::string_view name) { return at_name(name) && (next(), true); }

  static std::string describe(const Token& token) {
    switch (token.type) {
      case TokenType::kEnd:
        return "end of template";
      case TokenType::kBlockEnd:
        return "'%}'";
      case TokenType::kVariableEnd:
        return "'}}'";
      case TokenType::kString:
        return "a string";
      default:
        return "'" + token.text + "'";
    }
  }
  [[noreturn]] void unexpected(std::string_view wanted) const {
    fail_at(current().at, "expected " + std::string(wanted) + ", got " + describe(current()));
  }
  void expect_op(std::string_view op) {
    if (!skip_op(op)) unexpected("'" + std::string(op) + "'");
  }
  void expect_name(std::string_view name) {
    if (!skip_name(name)) unexpected("'" + std::string(name) + "'");
  }
  void expect(TokenType type, std::string_view shown) {
    if (current().type != type) unexpected(shown);
    next();
  }
  std::string expect_identifier() {
    if (current().type != TokenType::kName) unexpected("a name");
    check_identifier(current());
    return next().text;
  }
  static void check_identifier(const Token& token) {
    const auto first = static_cast<unsigned char>(token.text[0]);
    if (first >= '0' && first <= '9') fail_at(token.at, "a name cannot begin with a digit");
  }

  Symbol symbol(const std::string& name) {
    const auto [found, added] = symbols_.emplace(name, static_cast<Symbol>(names_.size()));
    if (added) names_.push_back(name);
    return found->second;
  }

  // --- statements ---
  bool at_tag(const std::vector<std::string_view>& names) const {
    return std::any_of(names.begin(), names.end(), [&](auto name) { return at_name(name); });
  }

  // Statements up to a block tag named in `ends`, whose name is then the current token.
  Body parse_body(const std::vector<std::string_view>& ends) {
    Body body;
    for (;;) {
      const Token& token = current();
      const Position at = token.at;
      if (token.type == TokenType::kEnd) {
        if (ends.empty()) return body;
        fail_at(at, "unexpected end of template, looking for '" + std::string(ends.back()) + "'");
      } else if (token.type == TokenType::kData) {
        body.push_back({at, Data{MarkedText(std::move(next().text), true)}});
      } else if (token.type == TokenType::kVariableBegin) {
        next();
        body.push_back({at, Print{parse_tuple(true, {})}});
        expect(TokenType::kVariableEnd, "'}}'");
      } else {
        next();
        if (!ends.empty() && at_tag(ends)) return body;
        parse_statement(body);
        expect(TokenType::kBlockEnd, "'%}'");
      }
    }
  }

  // The body of the tag just read, up to and including the name of its end tag.
  Body parse_block(const std::vector<std::string_view>& ends) {
    const Nesting nesting(block_depth_, current().at);
    skip_op(":");
    expect(TokenType::kBlockEnd, "'%}'");
    return parse_body(ends);
  }
  Body parse_whole_block(std::string_view end) {
    Body body = parse_block({end});
    next();
    return body;
  }

  void parse_statement(Body& body) {
    const Position at = current().at;
    if (current().type != TokenType::kName) unexpected("a tag name");
    const std::string tag = next().text;
    if (tag == "if") return body.push_back({at, parse_if()});
    if (tag == "for") return body.push_back({at, parse_for()});
    if (tag == "set") return parse_set(at, body);
    if (tag == "macro") return body.push_back({at, parse_macro()});
    if (tag == "call") return body.push_back({at, parse_call_block(at)});
    if (tag == "filter") return body.push_back({at, parse_filter_block()});
    if (tag == "with") return body.push_back({at, parse_with()});
    if (tag == "generation") return body.push_back({at, Scoped{parse_scoped("endgeneration")}});
    if (tag == "autoescape") {
      parse_expression();
      return body.push_back({at, Scoped{parse_scoped("endautoescape")}});
    }
    if (tag == "block") return parse_named_block(at, body);
    if (tag == "print") return parse_print(at, body);
    if (tag == "break" || tag == "continue") {
      if (!in_loop_) fail_at(at, "'" + tag + "' outside a loop");
      if (tag == "break") return body.push_back({at, Break{}});
      return body.push_back({at, Continue{}});
    }
    if (tag == "include" || tag == "import" || tag == "extends" || tag == "from") {
      fail_at(at, "'" + tag + "' is not available: a chat template stands alone");
    }
    fail_at(at, "unknown tag '" + tag + "'");
  }

  Body parse_scoped(std::string_view end) {
    const Restore soft(soft_, false);
    return parse_whole_block(end);
  }

  void parse_print(Position at, Body& body) {
    while (current().type != TokenType::kBlockEnd) {
      body.push_back({at, Print{parse_expression()}});
      if (current().type != TokenType::kBlockEnd) expect_op(",");
    }
  }

  void parse_named_block(Position at, Body& body) {
    const std::string name = expect_identifier();
    if (!blocks_.emplace(name, 0).second) fail_at(at, "block '" + name + "' defined twice");
    skip_name("scoped");
    skip_name("required");
    const Restore loop(in_loop_, false);
    body.push_back({at, Scoped{parse_scoped("endblock")}});
    skip_name(name);
  }

  If parse_if() {
    If out;
    const Restore soft(soft_, true);
    for (;;) {
      ExprPtr test = parse_tuple(false, {});
      Body body = parse_block({"elif", "else", "endif"});
      out.branches.emplace_back(std::move(test), std::move(body));
      const std::string tag = next().text;
      if (tag == "elif") continue;
      if (tag == "else") out.otherwise = parse_whole_block("endif");
      return out;
    }
  }

  For parse_for() {
    For out;
    out.target = parse_target("in");
    if (!out.target.is_tuple && out.target.symbol == kLoopSymbol) {
      fail_at(out.target.at, "can't assign to the special variable 'loop'");
    }
    expect_name("in");
    out.iterable = parse_tuple(false, "recursive");
    if (skip_name("if")) out.condition = parse_expression();
    out.recursive = skip_name("recursive");
    {
      const Restore soft(soft_, false);
      const Restore loop(in_loop_, true);
      out.body = parse_block({"endfor", "else"});
    }
    const Restore soft(soft_, false);
    if (next().text == "else") out.otherwise = parse_whole_block("endfor");
    return out;
  }

  void parse_set(Position at, Body& body) {
    Target target = parse_target({}, true);
    if (skip_op("=")) {
      ExprPtr value = parse_tuple(true, {});
      return body.push_back({at, Set{std::move(target), std::move(value)}});
    }
    SetBlock block;
    block.target = std::move(target);
    while (skip_op("|")) block.filters.push_back(parse_filter());
    block.body = parse_scoped("endset");
    body.push_back({at, std::move(block)});
  }

  void parse_signature(Macro& macro) {
    expect_op("(");
    while (!at_op(")")) {
      if (!macro.parameters.empty()) expect_op(",");
      const Position at = current().at;
      const std::string name = expect_identifier();
      check_assignable(name, at);
      macro.parameters.emplace_back(literal(name), symbol(name));
      if (skip_op("=")) {
        macro.defaults.push_back(parse_expression());
      } else if (!macro.defaults.empty()) {
        fail_at(at, "non-default argument follows default argument");
      }
    }
    expect_op(")");
  }

  void parse_macro_body(Macro& macro, std::string_view end) {
    const bool outer[3] = {uses_[0], uses_[1], uses_[2]};
    uses_[0] = uses_[1] = uses_[2] = false;
    {
      const Restore loop(in_loop_, false);
      macro.body = parse_scoped(end);
    }
    macro.uses_caller = uses_[0];
    macro.uses_varargs = uses_[1];
    macro.uses_kwargs = uses_[2];
    for (int i = 0; i < 3; ++i) uses_[i] = uses_[i] || outer[i];
  }

  std::shared_ptr<const Macro> parse_macro() {
    auto macro = std::make_shared<Macro>();
    const Position at = current().at;
    macro->name = expect_identifier();
    check_assignable(macro->name, at);
    macro->symbol = symbol(macro->name);
    parse_signature(*macro);
    parse_macro_body(*macro, "endmacro");
    return macro;
  }

  CallBlock parse_call_block(Position at) {
    CallBlock out;
    auto macro = std::make_shared<Macro>();
    macro->name = "caller";
    if (at_op("(")) parse_signature(*macro);
    out.call = parse_expression();
    const auto* postfix = std::get_if<Postfix>(&out.call->node);
    if (!postfix || !std::holds_alternative<CallOp>(postfix->ops.back().op)) {
      fail_at(at, "expected a call");
    }
    parse_macro_body(*macro, "endcall");
    out.caller = std::move(macro);
    return out;
  }

  FilterBlock parse_filter_block() {
    FilterBlock out;
    out.filters.push_back(parse_filter());
    while (skip_op("|")) out.filters.push_back(parse_filter());
    out.body = parse_scoped("endfilter");
    return out;
  }

  With parse_with() {
    With out;
    while (current().type != TokenType::kBlockEnd) {
      if (!out.bindings.empty()) expect_op(",");
      Target target = parse_target();
      expect_op("=");
      out.bindings.emplace_back(std::move(target), parse_expression());
    }
    out.body = parse_scoped("endwith");
    return out;
  }

  static void check_assignable(const std::string& name, Position at) {
    for (const char* word : {"true", "false", "none", "True", "False", "None"}) {
      if (name == word) fail_at(at, "can't assign to '" + name + "'");
    }
  }

  Target parse_one_target(bool with_namespace) {
    Target target;
    target.at = current().at;
    if (at_op("(")) {
      const Nesting nesting(expr_depth_, target.at);
      next();
      Target inner = parse_target({}, with_namespace, true);
      expect_op(")");
      return inner;
    }
    const std::string name = expect_identifier();
    if (with_namespace && at_op(".")) {
      next();
      target.attribute = literal(expect_identifier());
    } else {
      check_assignable(name, target.at);
    }
    target.symbol = symbol(name);
    return target;
  }

  Target parse_target(std::string_view stop = {}, bool with_namespace = false, bool inner = false) {
    Target first = parse_one_target(with_namespace);
    if (!at_op(",")) return first;
    Target tuple;
    tuple.at = first.at;
    tuple.is_tuple = true;
    tuple.items.push_back(std::move(first));
    while (skip_op(",")) {
      if ((!stop.empty() && at_name(stop)) || at_op("=") || (inner && at_op(")"))) break;
      tuple.items.push_back(parse_one_target(with_namespace));
    }
    return tuple;
  }

  // --- expressions ---
  bool at_tuple_end(std::string_view stop) const {
    return current().type == TokenType::kVariableEnd || current().type == TokenType::kBlockEnd ||
           at_op(")") || (!stop.empty() && at_name(stop));
  }

  ExprPtr parse_tuple(bool ternary, std::string_view stop, bool parentheses = false) {
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

  ExprPtr parse_expression() {
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

  ExprPtr parse_logic(bool is_and) {
    const Position at = current().at;
    std::vector<ExprPtr> operands;
    do {
      operands.push_back(is_and ? parse_not() : parse_logic(true));
    } while (skip_name(is_and ? "and" : "or"));
    if (operands.size() == 1) return std::move(operands[0]);
    return make(at, Logic{is_and, std::move(operands)});
  }
  ExprPtr parse_or() { return parse_logic(false); }

  ExprPtr parse_not() {
    const Position at = current().at;
    size_t count = 0;
    while (skip_name("not")) ++count;
    ExprPtr value = parse_comparison();
    if (count == 0) return value;
    value = make(at, Not{std::move(value)});
    return count % 2 == 1 ? std::move(value) : make(at, Not{std::move(value)});
  }

  std::optional<CompareOp> comparison_operator() {
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

  ExprPtr parse_comparison() {
    const Position at = current().at;
    ExprPtr first = parse_sum();
    std::vector<std::pair<CompareOp, ExprPtr>> rest;
    while (const auto op = comparison_operator()) rest.emplace_back(*op, parse_sum());
    if (rest.empty()) return first;
    return make(at, Comparison{std::move(first), std::move(rest)});
  }

  template <typename Parse>
  ExprPtr parse_arithmetic(std::initializer_list<std::pair<const char*, BinaryOp>> ops,
                           Parse parse) {
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

  ExprPtr parse_sum() {
    return parse_arithmetic({{"+", BinaryOp::kAdd}, {"-", BinaryOp::kSub}},
                            [this] { return parse_concat(); });
  }

  ExprPtr parse_concat() {
    const Position at = current().at;
    std::vector<ExprPtr> parts;
    do {
      parts.push_back(parse_product());
    } while (skip_op("~"));
    if (parts.size() == 1) return std::move(parts[0]);
    return make(at, Concat{std::move(parts)});
  }

  ExprPtr parse_product() {
    return parse_arithmetic(
        {{"*", BinaryOp::kMul},
         {"/", BinaryOp::kDiv},
         {"//", BinaryOp::kFloorDiv},
         {"%", BinaryOp::kMod}},
        [this] {
          return parse_arithmetic({{"**", BinaryOp::kPow}}, [this] { return parse_unary(true); });
        });
  }

  ExprPtr parse_unary(bool with_filters) {
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

  ExprPtr parse_primary() {
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

  ExprPtr parse_name() {
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

  ExprPtr parse_list(Position at) {
    std::vector<ExprPtr> items;
    while (!at_op("]")) {
      items.push_back(parse_expression());
      if (!at_op("]")) expect_op(",");
    }
    expect_op("]");
    return make(at, Sequence{Type::kList, std::move(items)});
  }

  ExprPtr parse_dict(Position at) {
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

  void parse_postfix(std::vector<PostfixOp>& ops) {
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

  static bool is_literal(const ExprPtr& expr) {
    return std::holds_alternative<Literal>(expr->node);
  }

  static void mark_constant(Postfix& out) {
    auto* slice = out.ops.empty() ? nullptr : std::get_if<SliceOp>(&out.ops[0].op);
    if (!slice || !is_literal(out.base)) return;
    slice->constant = true;
    for (const ExprPtr* part : {&slice->start, &slice->stop, &slice->step}) {
      if (*part && !is_literal(*part)) slice->constant = false;
    }
  }

  PostfixOp parse_attribute(Position at) {
    if (current().type == TokenType::kName) return {at, AttributeOp{literal(next().text)}};
    if (current().type != TokenType::kInteger) unexpected("a name or number");
    const Position key_at = current().at;
    return {at, ItemOp{make(key_at, Literal{int_value(next().integer)})}};
  }

  PostfixOp parse_subscript(Position at) {
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

  PostfixOp parse_subscribed(Position at) {
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

  Arguments parse_arguments() {
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

  std::string dotted_name() {
    std::string name = expect_identifier();
    while (skip_op(".")) name += "." + expect_identifier();
    return name;
  }

  PostfixOp parse_filter() {
    const Position at = current().at;
    FilterOp out;
    out.name = dotted_name();
    out.function = find_filter(out.name);
    if (!out.function && !soft_) unknown_.emplace_back(at, "no filter named '" + out.name + "'");
    if (at_op("(")) out.arguments = parse_arguments();
    return {at, std::move(out)};
  }

  void parse_filters(Postfix& out) {
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

  bool at_test_argument() const {
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

  PostfixOp parse_test(Position at) {
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

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int expr_depth_ = 0;
  int block_depth_ = 0;
  bool soft_ = false;  // inside a condition an unknown filter or test is an error only when reached
  std::vector<std::pair<Position, std::string>> unknown_;  // filters and tests that do not exist
  bool in_loop_ = false;
  bool uses_[3] = {false, false, false};  // caller, varargs, kwargs, in the macro being parsed
  std::unordered_map<std::string, int> blocks_;
  std::unordered_map<std::string, Symbol> symbols_;
  std::vector<std::string> names_;
};

}  // namespace

Template parse_template(std::string_view source) { return Parser(source).run(); }

}  // namespace serval::chat
