// How Python writes values: str() and repr(). Recursion is bounded by kMaxValueDepth, work by the
// budget: a value may be a DAG whose printed form is exponentially longer than itself.
#include <charconv>
#include <cmath>

#include "text/chat/runtime.h"
#include "text/chat/unicode.h"
#include "text/chat/value.h"

namespace serval::chat {

std::string float_repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  // Shortest digits that read back, then Python's layout: exponents below -4 or from 16 on.
  char buffer[64];
  const auto end =
      std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::scientific);
  std::string text(buffer, end.ptr);
  const size_t e = text.find('e');
  const int exponent = std::stoi(text.substr(e + 1));
  if (exponent < -4 || exponent >= 16) return text;  // d.ddde+XX: the same form as Python's
  const auto fixed =
      std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::fixed);
  std::string out(buffer, fixed.ptr);
  if (out.find('.') == std::string::npos) out += ".0";
  return out;
}

namespace {

void print_quoted(MarkedText& out, const MarkedText& text, bool trusted) {
  constexpr std::string_view kHex = "0123456789abcdef";
  const std::string_view bytes = text.view();
  const bool single =
      bytes.find('\'') != std::string_view::npos && bytes.find('"') == std::string_view::npos;
  const char quote = single ? '"' : '\'';
  out.append(std::string_view(&quote, 1), trusted);
  for (size_t i = 0; i < bytes.size();) {
    const size_t n = char_bytes(bytes, i);
    const char32_t c = decode_at(bytes, i);
    std::string piece;
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      piece = {'\\', static_cast<char>(c)};
    } else if (c == '\n') {
      piece = "\\n";
    } else if (c == '\r') {
      piece = "\\r";
    } else if (c == '\t') {
      piece = "\\t";
    } else if (is_printable(c)) {
      piece = bytes.substr(i, n);
    } else {
      const int digits = c < 0x100 ? 2 : (c < 0x10000 ? 4 : 8);
      piece = c < 0x100 ? "\\x" : (c < 0x10000 ? "\\u" : "\\U");
      for (int d = digits - 1; d >= 0; --d) piece += kHex[(c >> (4 * d)) & 15];
    }
    out.append(piece, text.trusted_at(i));
    i += n;
  }
  out.append(std::string_view(&quote, 1), trusted);
}

void print_items(Runtime& runtime, MarkedText& out, const std::vector<Value>& items, bool trusted,
                 int level) {
  for (size_t i = 0; i < items.size(); ++i) {
    if (i) out.append(", ", trusted);
    print_repr(runtime, out, items[i], level + 1);
  }
}

void print_dict(Runtime& runtime, MarkedText& out, const Value& value, int level) {
  out.append("{", value.trusted);
  bool first = true;
  for (const auto& [key, item] : value.dict().entries) {
    if (!first) out.append(", ", value.trusted);
    first = false;
    print_repr(runtime, out, key, level + 1);
    out.append(": ", value.trusted);
    print_repr(runtime, out, item, level + 1);
  }
  out.append("}", value.trusted);
}

std::string range_repr(const Range& range) {
  std::string out = "range(" + std::to_string(range.start) + ", " + std::to_string(range.stop);
  if (range.step != 1) out += ", " + std::to_string(range.step);
  return out + ")";
}

}  // namespace

void print_repr(Runtime& runtime, MarkedText& out, const Value& value, int level) {
  if (level > kMaxValueDepth + 1) fail_limit("values are nested too deeply to print");
  runtime.budget.step();
  runtime.budget.expect(out.size());
  const bool trusted = value.trusted;
  switch (value.type) {
    case Type::kUndefined:
      return out.append("Undefined", trusted);
    case Type::kNone:
      return out.append("None", trusted);
    case Type::kBool:
      return out.append(value.boolean ? "True" : "False", trusted);
    case Type::kInt:
      return out.append(std::to_string(value.integer), trusted);
    case Type::kFloat:
      return out.append(float_repr(value.number), trusted);
    case Type::kString:
      runtime.budget.touch(value.text().size());
      if (value.string().markup) out.append("Markup(", trusted);
      print_quoted(out, value.text(), value.text().trusted_at(0));
      if (value.string().markup) out.append(")", trusted);
      return;
    case Type::kList:
      out.append("[", trusted);
      print_items(runtime, out, value.list().items, trusted, level);
      return out.append("]", trusted);
    case Type::kTuple:
      out.append("(", trusted);
      print_items(runtime, out, value.list().items, trusted, level);
      return out.append(value.list().items.size() == 1 ? ",)" : ")", trusted);
    case Type::kDict:
      return print_dict(runtime, out, value, level);
    case Type::kRange:
      return out.append(range_repr(value.range()), trusted);
    case Type::kView:
      out.append(std::string(value.items().name) + "([", trusted);
      print_items(runtime, out, value.items().values, trusted, level);
      return out.append("])", trusted);
    case Type::kIterator:
      return out.append("<" + std::string(value.items().name) + ">", trusted);
    case Type::kObject:
      return out.append(value.special().repr(runtime), false);
  }
}

void print(Runtime& runtime, MarkedText& out, const Value& value) {
  if (value.is(Type::kUndefined)) return;
  if (value.is(Type::kString)) return out.append(value.text());
  print_repr(runtime, out, value);
}

}  // namespace serval::chat
