// Statements: the text, tags and blocks of a template, each tag a function. Nesting of blocks is
// capped; the expressions in tags are ExpressionParser's.
#include <algorithm>
#include <unordered_map>

#include "text/chat/ast.h"
#include "text/chat/expression_parser.h"

namespace serval::chat {
namespace {

class Parser : private ExpressionParser {
 public:
  explicit Parser(std::string_view source) : ExpressionParser(source) {
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

  int block_depth_ = 0;
  bool in_loop_ = false;
  std::unordered_map<std::string, int> blocks_;
};

}  // namespace

Template parse_template(std::string_view source) { return Parser(source).run(); }

}  // namespace serval::chat
