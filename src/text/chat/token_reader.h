// Where a parser stands in its tokens, and what it says when they are not what it wants.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "text/chat/lexer.h"

namespace serval::chat {

class TokenReader {
 public:
  explicit TokenReader(std::string_view source) : tokens_(tokenize(source)) {}

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

 private:
  std::vector<Token> tokens_;
  size_t at_ = 0;
};

}  // namespace serval::chat
