// Expressions of the template language; parser.cpp has the statements around them.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/chat/ast.h"
#include "text/chat/token_reader.h"

namespace serval::chat {

inline constexpr int kMaxNesting = 64;  // of brackets, and apart from them of blocks

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

// A string of the template's author.
inline Value literal(std::string text) {
  return string_value(nullptr, MarkedText(std::move(text), true));
}

class ExpressionParser : protected TokenReader {
 protected:
  explicit ExpressionParser(std::string_view source) : TokenReader(source) {}

  ExprPtr parse_expression();
  // "a, b" is a tuple. `ternary`: items may be conditional; `stop`: a name that ends it;
  // `parentheses`: nothing at all is the empty tuple.
  ExprPtr parse_tuple(bool ternary, std::string_view stop, bool parentheses = false);
  PostfixOp parse_filter();

  // The number of a name: its place in names_.
  Symbol symbol(const std::string& name) {
    const auto [found, added] = symbols_.emplace(name, static_cast<Symbol>(names_.size()));
    if (added) names_.push_back(name);
    return found->second;
  }

  int expr_depth_ = 0;
  bool soft_ = false;  // inside a condition an unknown filter or test is an error only when reached
  std::vector<std::pair<Position, std::string>> unknown_;  // filters and tests that do not exist
  bool uses_[3] = {false, false, false};  // caller, varargs, kwargs, in the macro being parsed
  std::vector<std::string> names_;

 private:
  bool at_tuple_end(std::string_view stop) const;
  ExprPtr parse_logic(bool is_and);
  ExprPtr parse_or();
  ExprPtr parse_not();
  std::optional<CompareOp> comparison_operator();
  ExprPtr parse_comparison();
  template <typename Parse>
  ExprPtr parse_arithmetic(std::initializer_list<std::pair<const char*, BinaryOp>> ops,
                           Parse parse);
  ExprPtr parse_sum();
  ExprPtr parse_concat();
  ExprPtr parse_product();
  ExprPtr parse_unary(bool with_filters);
  ExprPtr parse_primary();
  ExprPtr parse_name();
  ExprPtr parse_list(Position at);
  ExprPtr parse_dict(Position at);
  void parse_postfix(std::vector<PostfixOp>& ops);
  PostfixOp parse_attribute(Position at);
  PostfixOp parse_subscript(Position at);
  PostfixOp parse_subscribed(Position at);
  Arguments parse_arguments();
  std::string dotted_name();
  void parse_filters(Postfix& out);
  bool at_test_argument() const;
  PostfixOp parse_test(Position at);

  std::unordered_map<std::string, Symbol> symbols_;
};

}  // namespace serval::chat
