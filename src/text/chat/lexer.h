// Lexer: template source -> tokens, with the whitespace rules of Jinja under trim_blocks and
// lstrip_blocks (what every chat template is written for).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/chat/ast.h"

namespace serval::chat {

enum class TokenType : uint8_t {
  kData,
  kVariableBegin,
  kVariableEnd,
  kBlockBegin,
  kBlockEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,
  kEnd,
};

struct Token {
  TokenType type = TokenType::kEnd;
  std::string text;  // data, name, operator, unescaped string
  Position at;
  int64_t integer = 0;
  double number = 0;
};

[[noreturn]] void fail_at(Position at, const std::string& message);

std::vector<Token> tokenize(std::string_view source);

}  // namespace serval::chat
