// One pass over the source, switching between data and tags. The rules, in the order they bite:
//   - line ends become \n, and one trailing line end of the file is dropped;
//   - "{%-" strips all white space before the tag, "-%}" all after it;
//   - otherwise a block or comment tag alone on its line loses the blanks before it
//   (lstrip_blocks),
//     unless written "{%+", and one line end after it (trim_blocks), unless written "+%}";
//   - inside a tag, an end mark counts only when brackets are balanced: {{ {'a': {}} }}.
// Reference: the documentation of Jinja, "Template Designer", "Whitespace Control".
#include "text/chat/lexer.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "text/chat/unicode.h"

namespace serval::chat {
namespace {

std::string normalise(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalise(source)) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) lex_data();
    push(TokenType::kEnd, "");
    return std::move(tokens_);
  }

 private:
  bool starts(std::string_view what, size_t from) const {
    return std::string_view(source_)
               .substr(std::min(from, source_.size()))
               .substr(0, what.size()) == what;
  }
  size_t skip_space(size_t from) const {
    while (from < source_.size() && is_space(decode_at(source_, from))) {
      from += char_bytes(source_, from);
    }
    return from;
  }

  Position position(size_t offset) {
    for (; counted_ < offset; ++counted_) {
      if (source_[counted_] == '\n') {
        ++line_;
        line_start_ = counted_ + 1;
      }
    }
    const std::string_view line(source_.data() + line_start_, offset - line_start_);
    // A template in one line of a megabyte would make counting characters quadratic.
    const auto column = line.size() > 4096 ? line.size() : static_cast<size_t>(count_chars(line));
    return {line_, static_cast<uint32_t>(column + 1)};
  }

  Token& push(TokenType type, std::string text) {
    Token token;
    token.type = type;
    token.text = std::move(text);
    token.at = position(std::max(at_, counted_));
    tokens_.push_back(std::move(token));
    return tokens_.back();
  }

  void set_position(size_t at) {
    line_starting_ = at > 0 && source_[at - 1] == '\n';
    at_ = at;
  }

  // Emits source[at_, end) as data, stripped as the tag that begins at `end` asks.
  void emit_data(size_t end, char sign, bool lstrip) {
    std::string_view text = std::string_view(source_).substr(at_, end - at_);
    if (sign == '-') {
      text = text.substr(0, strip_end(text, 0, {}, true));
    } else if (sign != '+' && lstrip) {
      const size_t newline = text.rfind('\n');
      const size_t line = newline == std::string_view::npos ? 0 : newline + 1;
      if ((line > 0 || line_starting_) &&
          strip_start(text.substr(line), {}, true) == text.size() - line) {
        text = text.substr(0, line);
      }
    }
    if (!text.empty()) push(TokenType::kData, std::string(text));
  }

  char sign_at(size_t at) const {
    return at < source_.size() && (source_[at] == '-' || source_[at] == '+') ? source_[at] : ' ';
  }

  void lex_data() {
    size_t tag = at_;
    for (;; ++tag) {
      tag = source_.find('{', tag);
      if (tag == std::string::npos || tag + 1 >= source_.size()) {
        push(TokenType::kData, source_.substr(at_));
        at_ = source_.size();
        return;
      }
      const char next = source_[tag + 1];
      if (next == '{' || next == '%' || next == '#') break;
    }
    const char kind = source_[tag + 1];
    const char sign = sign_at(tag + 2);
    emit_data(tag, sign, kind != '{');
    const size_t after = tag + 2 + (sign != ' ' ? 1 : 0);
    at_ = tag;
    if (kind == '#') return lex_comment(after);
    if (kind == '%') {
      if (const size_t raw = raw_begin(after)) return lex_raw(raw);
    }
    push(kind == '{' ? TokenType::kVariableBegin : TokenType::kBlockBegin, "");
    set_position(after);
    lex_tag(kind == '%');
  }

  void lex_comment(size_t from) {
    const size_t end = source_.find("#}", from);
    if (end == std::string::npos) fail_at(position(at_), "Missing end of comment tag");
    finish_block(end + 2, end > from ? source_[end - 1] : ' ');
  }

  // Moves behind an end mark: '-' strips what follows, nothing strips one line end, '+' keeps all.
  void finish_block(size_t after, char sign) {
    if (sign == '-') {
      after = skip_space(after);
    } else if (sign != '+' && starts("\n", after)) {
      ++after;
    }
    set_position(after);
  }

  // Offset behind "{% raw %}" when `from` stands behind "{%", else 0.
  size_t raw_begin(size_t from) const {
    size_t at = skip_space(from);
    if (!starts("raw", at)) return 0;
    at = skip_space(at + 3);
    if (starts("%}", at)) return at + 2;
    return starts("-%}", at) ? skip_space(at + 3) : 0;
  }

  void lex_raw(size_t from) {
    set_position(from);
    for (size_t tag = from; (tag = source_.find("{%", tag)) != std::string::npos; ++tag) {
      const char sign = sign_at(tag + 2);
      size_t at = skip_space(tag + 2 + (sign != ' ' ? 1 : 0));
      if (!starts("endraw", at)) continue;
      at = skip_space(at + 6);
      const char end_sign = sign_at(at);
      if (end_sign != ' ') ++at;
      if (!starts("%}", at)) continue;
      emit_data(tag, sign, true);
      return finish_block(at + 2, end_sign);
    }
    fail_at(position(from), "Missing end of raw directive");
  }

  void lex_tag(bool block) {
    const std::string_view end = block ? "%}" : "}}";
    std::string open;  // brackets not yet closed
    while (at_ < source_.size()) {
      if (open.empty()) {
        if (starts(end, at_)) return close_tag(block, ' ', at_ + 2);
        if (source_[at_] == '-' && starts(end, at_ + 1)) return close_tag(block, '-', at_ + 3);
        if (block && source_[at_] == '+' && starts(end, at_ + 1)) {
          return close_tag(block, '+', at_ + 3);
        }
      }
      if (is_space(decode_at(source_, at_))) {
        at_ = skip_space(at_);
      } else {
        lex_token(open);
      }
    }
  }

  void close_tag(bool block, char sign, size_t after) {
    push(block ? TokenType::kBlockEnd : TokenType::kVariableEnd, "");
    if (!block && sign != '-') return set_position(after);
    finish_block(after, sign);
  }

  void lex_token(std::string& open) {
    const char32_t c = decode_at(source_, at_);
    if (c >= '0' && c <= '9') return lex_number();
    if (c == '"' || c == '\'') return lex_string();
    if (c == '_' || is_alnum(c)) {
      size_t end = at_;
      while (end < source_.size()) {
        const char32_t d = decode_at(source_, end);
        if (d != '_' && !is_alnum(d)) break;
        end += char_bytes(source_, end);
      }
      push(TokenType::kName, source_.substr(at_, end - at_));
      at_ = end;
      return;
    }
    static constexpr std::string_view kPairs[] = {"//", "**", "==", "!=", ">=", "<="};
    for (const auto pair : kPairs) {
      if (starts(pair, at_)) {
        push(TokenType::kOperator, std::string(pair));
        at_ += 2;
        return;
      }
    }
    if (c >= 0x80 || std::string_view("+-/*%~[](){}><=.:|,;").find(static_cast<char>(c)) ==
                         std::string_view::npos) {
      std::string shown;
      append_utf8(shown, c);
      fail_at(position(at_), "unexpected character '" + shown + "'");
    }
    balance(open, static_cast<char>(c));
    push(TokenType::kOperator, std::string(1, static_cast<char>(c)));
    ++at_;
  }

  void balance(std::string& open, char c) {
    if (c == '(') open += ')';
    if (c == '[') open += ']';
    if (c == '{') open += '}';
    if (c != ')' && c != ']' && c != '}') return;
    if (open.empty()) fail_at(position(at_), std::string("unexpected '") + c + "'");
    if (open.back() != c) {
      fail_at(position(at_), std::string("unexpected '") + c + "', expected '" + open.back() + "'");
    }
    open.pop_back();
  }

  // Digits with single underscores between them; the end, or `from` when there are none.
  size_t digits(size_t from, int base = 10) const {
    const auto is = [&](size_t i) {
      if (i >= source_.size()) return false;
      const char c = source_[i];
      if (c >= '0' && c <= '9') return c - '0' < base;
      return base == 16 && ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'));
    };
    size_t at = from;
    while (is(at) || (at > from && at < source_.size() && source_[at] == '_' && is(at + 1))) ++at;
    return at;
  }

  void lex_number() {
    const size_t whole = digits(at_);
    size_t end = whole;
    if (end < source_.size() && source_[end] == '.' && digits(end + 1) > end + 1) {
      end = digits(end + 1);
    }
    if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
      const size_t sign = end + 1 + (sign_at(end + 1) != ' ' ? 1 : 0);
      if (digits(sign) > sign) end = digits(sign);
    }
    const bool after_dot = at_ > 0 && source_[at_ - 1] == '.';
    if (end > whole && !after_dot) return push_float(end);
    push_integer(whole);
  }

  std::string without_underscores(size_t end) const {
    std::string text = source_.substr(at_, end - at_);
    text.erase(std::remove(text.begin(), text.end(), '_'), text.end());
    return text;
  }

  void push_float(size_t end) {
    const std::string text = without_underscores(end);
    double value = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
    if (read.ec == std::errc::result_out_of_range) value = std::strtod(text.c_str(), nullptr);
    push(TokenType::kFloat, text).number = value;
    at_ = end;
  }

  void push_integer(size_t decimal_end) {
    int base = 10;
    size_t end = decimal_end;
    if (source_[at_] == '0' && at_ + 1 < source_.size()) {
      const char mark = static_cast<char>(source_[at_ + 1] | 0x20);
      const int other = mark == 'x' ? 16 : (mark == 'o' ? 8 : (mark == 'b' ? 2 : 10));
      size_t from = at_ + 2;
      if (other != 10 && from < source_.size() && source_[from] == '_') ++from;
      if (other != 10 && digits(from, other) > from) {
        base = other;
        end = digits(from, other);
      } else {
        // "0", "00": a decimal does not begin with zero, so 012 reads as 0 and then 12.
        for (end = at_ + 1; end < source_.size() && source_[end] == '0';) ++end;
      }
    }
    std::string text = without_underscores(end);
    if (base != 10) text = text.substr(2);
    int64_t value = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (read.ec != std::errc()) fail_at(position(at_), "integer does not fit in 64 bits");
    push(TokenType::kInteger, text).integer = value;
    at_ = end;
  }

  void lex_string() {
    const char quote = source_[at_];
    size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) {
      fail_at(position(at_),
              std::string("unexpected character '") + quote + "': string not closed");
    }
    push(TokenType::kString, unescape(at_ + 1, end));
    at_ = end + 1;
  }

  std::string unescape(size_t from, size_t end) {
    std::string out;
    char32_t high = 0;  // a leading surrogate waiting for its pair
    for (size_t i = from; i < end;) {
      if (source_[i] != '\\') {
        out += source_[i++];
        continue;
      }
      const char c = source_[i + 1];
      i += 2;
      if (c == '\n') continue;  // a line continued
      if (std::string_view("\\'\"abfnrtv").find(c) != std::string_view::npos) {
        out += simple_escape(c);
        continue;
      }
      i = numeric_escape(out, c, i, end, high);
    }
    return out;
  }

  static char simple_escape(char c) {
    switch (c) {
      case 'a':
        return '\a';
      case 'b':
        return '\b';
      case 'f':
        return '\f';
      case 'n':
        return '\n';
      case 'r':
        return '\r';
      case 't':
        return '\t';
      case 'v':
        return '\v';
      default:
        return c;
    }
  }

  // \ooo, \xhh, \uhhhh, \Uhhhhhhhh; an unknown escape stays as it is. Returns the next offset.
  size_t numeric_escape(std::string& out, char c, size_t i, size_t end, char32_t& high) {
    const bool octal = c >= '0' && c <= '7';
    const size_t width = c == 'x' ? 2 : (c == 'u' ? 4 : (c == 'U' ? 8 : 0));
    if (!octal && width == 0) {
      if (c == 'N') fail_at(position(i), "\\N{...} escapes are not supported: write \\uXXXX");
      out += '\\';
      out += c;
      return i;
    }
    const size_t start = octal ? i - 1 : i;
    size_t stop = start;
    const size_t limit = std::min(end, start + (octal ? 3 : width));
    while (stop < limit &&
           (octal ? source_[stop] >= '0' && source_[stop] <= '7' : digits(stop, 16) > stop)) {
      ++stop;
    }
    if (!octal && stop - start != width) {
      fail_at(position(i), "truncated escape in string");
    }
    uint32_t value = 0;
    std::from_chars(source_.data() + start, source_.data() + stop, value, octal ? 8 : 16);
    if (value > 0x10FFFF) fail_at(position(i), "illegal Unicode character in string");
    if (value >= 0xD800 && value < 0xDC00) {
      high = value;
      return stop;
    }
    if (value >= 0xDC00 && value < 0xE000) {
      value = high ? 0x10000 + ((high - 0xD800) << 10) + (value - 0xDC00) : 0xFFFD;
      high = 0;
    }
    append_utf8(out, value);
    return stop;
  }

  std::string source_;
  size_t at_ = 0;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
  size_t counted_ = 0;  // line_ and line_start_ describe this offset
  size_t line_start_ = 0;
  uint32_t line_ = 1;
};

}  // namespace

void fail_at(Position at, const std::string& message) {
  fail("line " + std::to_string(at.line) + ", column " + std::to_string(at.column) + ": " +
       message);
}

std::vector<Token> tokenize(std::string_view source) { return Lexer(source).run(); }

}  // namespace serval::chat
