// Python's two ways to format: "%05d" % x (printf-style formatting) and "{:>5}".format(x) (format
// specification mini-language). Literal parts keep the trust of the format string, inserted values
// their own.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "text/chat/runtime.h"
#include "text/chat/unicode.h"

namespace serval::chat {
namespace {

constexpr int64_t kMaxWidth = 1 << 20;
constexpr size_t kNposView = std::string_view::npos;

struct Spec {
  std::string fill = " ";
  bool fill_trusted = true;  // the specification may itself be formatted from outside data
  char align = 0;            // < > ^ =
  char sign = '-';
  bool alternate = false;
  bool zero = false;
  char group = 0;
  int64_t width = 0;
  int64_t precision = -1;
  char type = 0;
};

std::string grouped(const std::string& digits, char mark, size_t every) {
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i && (digits.size() - i) % every == 0) out += mark;
    out += digits[i];
  }
  return out;
}

// |value| in the float presentation `type`; Python spells exponents as C does.
std::string float_digits(double value, char type, int64_t precision, bool alternate) {
  if (std::isnan(value)) return type >= 'A' && type <= 'Z' ? "NAN" : "nan";
  if (std::isinf(value)) return type >= 'A' && type <= 'Z' ? "INF" : "inf";
  if (precision > 1000) fail_limit("the precision is too large");
  char buffer[2048];
  const std::string pattern = std::string("%") + (alternate ? "#" : "") + ".*" + type;
  const int size = std::snprintf(buffer, sizeof(buffer), pattern.c_str(),
                                 static_cast<int>(precision < 0 ? 6 : precision), value);
  return std::string(buffer, static_cast<size_t>(std::clamp(size, 0, 2047)));
}

std::string integer_digits(uint64_t magnitude, char type, bool alternate) {
  const int base = type == 'x' || type == 'X' ? 16 : (type == 'o' ? 8 : (type == 'b' ? 2 : 10));
  char buffer[72];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), magnitude, base);
  std::string digits(buffer, end.ptr);
  if (type == 'X') {
    std::transform(digits.begin(), digits.end(), digits.begin(),
                   [](char c) { return c >= 'a' ? static_cast<char>(c - 32) : c; });
  }
  if (alternate && base != 10) return std::string("0") + type + digits;
  return digits;
}

uint64_t magnitude(int64_t value) {
  return value < 0 ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
}

void pad(MarkedText& out, const MarkedText& body, const Spec& spec, char default_align) {
  const int64_t missing = spec.width - count_chars(body.view());
  const char align = spec.align ? spec.align : default_align;
  int64_t left = 0;
  if (missing > 0) left = align == '^' ? missing / 2 : (align == '<' ? 0 : missing);
  for (int64_t i = 0; i < left; ++i) out.append(spec.fill, spec.fill_trusted);
  out.append(body);
  for (int64_t i = left; i < missing; ++i) out.append(spec.fill, spec.fill_trusted);
}

// Sign and digits, with zeros between them when asked.
void pad_number(MarkedText& out, std::string sign, std::string digits, Spec spec, bool trusted) {
  if (spec.zero && !spec.align) {
    spec.align = '=';
    spec.fill = "0";
  }
  if (spec.align == '=') {
    const int64_t missing = spec.width - static_cast<int64_t>(sign.size() + digits.size());
    for (int64_t i = 0; i < missing; ++i) sign += spec.fill;
    trusted = trusted && spec.fill_trusted;
  }
  pad(out, MarkedText(sign + digits, trusted), spec, '>');
}

std::string sign_of(bool negative, char sign) {
  if (negative) return "-";
  return sign == '+' ? "+" : (sign == ' ' ? " " : "");
}

// --- printf style ---

class Percent {
 public:
  Percent(Runtime& runtime, const MarkedText& format, const Value& args)
      : runtime_(runtime), format_(format), args_(args) {}

  MarkedText run() {
    const std::string_view text = format_.view();
    while (at_ < text.size()) {
      const size_t mark = std::min(text.find('%', at_), text.size());
      out_.append(format_, at_, mark);
      at_ = mark + 1;
      if (mark < text.size()) conversion(mark);
      runtime_.budget.expect(out_.size());
    }
    const size_t given = args_.is(Type::kTuple) ? args_.list().items.size() : 1;
    if (used_ < given && !args_.is(Type::kDict) && !by_name_ &&
        (args_.is(Type::kTuple) || used_ == 0)) {
      if (!(args_.is(Type::kList) && used_ == 0)) {
        fail("not all arguments converted during string formatting");
      }
    }
    return std::move(out_);
  }

 private:
  char peek() const {
    if (at_ >= format_.size()) fail("incomplete format");
    return format_.bytes()[at_];
  }

  Value next() {
    if (args_.is(Type::kTuple)) {
      if (used_ >= args_.list().items.size()) fail("not enough arguments for format string");
      return args_.list().items[used_++];
    }
    if (used_++ > 0) fail("not enough arguments for format string");
    return args_;
  }

  int64_t number() {
    if (peek() == '*') {
      ++at_;
      const Value value = next();
      if (!value.is_integral()) fail("* wants int");
      return std::clamp<int64_t>(value.as_int(), -kMaxWidth, kMaxWidth);
    }
    int64_t out = 0;
    for (; peek() >= '0' && peek() <= '9'; ++at_) {
      out = out * 10 + (peek() - '0');
      if (out > kMaxWidth) fail_limit("the format width is too large");
    }
    return out;
  }

  void conversion(size_t mark) {
    Value value;
    bool named = false;
    if (peek() == '(') {
      const size_t close = format_.view().find(')', at_);
      if (close == std::string_view::npos) fail("incomplete format key");
      if (!args_.is(Type::kDict)) fail("format requires a mapping");
      const Value* found = args_.dict().find(format_.view().substr(at_ + 1, close - at_ - 1));
      if (!found) fail("the format key is not in the mapping");
      value = *found;
      named = by_name_ = true;
      at_ = close + 1;
    }
    Spec spec;
    for (;; ++at_) {
      const char flag = peek();
      if (flag == '-') {
        spec.align = '<';
      } else if (flag == '+') {
        spec.sign = '+';
      } else if (flag == ' ') {
        if (spec.sign != '+') spec.sign = ' ';
      } else if (flag == '#') {
        spec.alternate = true;
      } else if (flag == '0') {
        spec.zero = true;
      } else {
        break;
      }
    }
    spec.width = number();
    if (spec.width < 0) {
      spec.align = '<';
      spec.width = -spec.width;
    }
    if (peek() == '.') {
      ++at_;
      spec.precision = std::max<int64_t>(number(), 0);
    }
    while (peek() == 'l' || peek() == 'h' || peek() == 'L') ++at_;
    spec.type = peek();
    ++at_;
    if (spec.type == '%') return out_.append(format_, mark, mark + 1);
    convert(named ? value : next(), spec);
  }

  void convert(const Value& value, Spec spec) {
    switch (spec.type) {
      case 's':
      case 'r':
      case 'a': {
        MarkedText body;
        if (spec.type == 's') {
          print(runtime_, body, value);
        } else {
          print_repr(runtime_, body, value);
        }
        if (spec.precision >= 0) {
          body = body.slice(0, byte_offset(body.view(), false, spec.precision));
        }
        return pad(out_, body, spec, '>');
      }
      case 'c':
        return pad(out_, character(value), spec, '>');
      case 'd':
      case 'i':
      case 'u':
      case 'x':
      case 'X':
      case 'o':
        return integer(value, spec);
      case 'e':
      case 'E':
      case 'f':
      case 'F':
      case 'g':
      case 'G': {
        if (!value.is_number()) {
          fail("must be real number, not " + std::string(type_name(value)));
        }
        const double number = value.as_double();
        return pad_number(
            out_, sign_of(std::signbit(number) && !std::isnan(number), spec.sign),
            float_digits(std::fabs(number), spec.type, spec.precision, spec.alternate), spec,
            value.trusted);
      }
      default:
        fail("unsupported format character '" + std::string(1, spec.type) + "'");
    }
  }

  void integer(const Value& value, Spec spec) {
    const bool decimal = spec.type == 'd' || spec.type == 'i' || spec.type == 'u';
    if (!value.is_integral() && !(decimal && value.is(Type::kFloat))) {
      fail(std::string("%") + spec.type + " format: a real number is required, not " +
           type_name(value));
    }
    if (value.is(Type::kFloat) && !(std::fabs(value.number) < 9.2e18)) {
      fail("cannot convert float to a 64-bit integer");
    }
    const int64_t number =
        value.is(Type::kFloat) ? static_cast<int64_t>(value.number) : value.as_int();
    std::string digits = integer_digits(magnitude(number), spec.type, spec.alternate);
    const int64_t zeros = spec.precision - static_cast<int64_t>(digits.size());
    if (zeros > 0) digits.insert(0, static_cast<size_t>(zeros), '0');
    pad_number(out_, sign_of(number < 0, spec.sign), digits, spec, value.trusted);
  }

  static MarkedText character(const Value& value) {
    if (value.is(Type::kString) && value.string().length == 1) return value.text();
    if (!value.is_integral()) fail("%c requires int or char");
    if (value.as_int() < 0 || value.as_int() > 0x10FFFF) fail("%c arg not in range(0x110000)");
    std::string text;
    append_utf8(text, static_cast<char32_t>(value.as_int()));
    return MarkedText(text, value.trusted);
  }

  Runtime& runtime_;
  const MarkedText& format_;
  const Value& args_;
  MarkedText out_;
  size_t at_ = 0;
  size_t used_ = 0;
  bool by_name_ = false;
};

// --- format() ---

int64_t read_number(std::string_view text, size_t& at) {
  int64_t out = 0;
  for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
    out = out * 10 + (text[at] - '0');
    if (out > kMaxWidth) fail_limit("the format width is too large");
  }
  return out;
}

Spec parse_spec(std::string_view text) {
  Spec spec;
  size_t at = 0;
  const auto is_align = [&](size_t i) {
    return i < text.size() && std::string_view("<>^=").find(text[i]) != std::string_view::npos;
  };
  const size_t first = text.empty() ? 0 : char_bytes(text, 0);
  if (first && is_align(first)) {
    spec.fill = text.substr(0, first);
    spec.align = text[first];
    at = first + 1;
  } else if (is_align(0)) {
    spec.align = text[0];
    at = 1;
  }
  const auto take = [&](std::string_view any) {
    const bool found = at < text.size() && any.find(text[at]) != std::string_view::npos;
    return found ? text[at++] : '\0';
  };
  if (const char sign = take("+- ")) spec.sign = sign;
  spec.alternate = take("#") != 0;
  spec.zero = take("0") != 0;
  if (spec.zero && !(first && is_align(first))) spec.fill = "0";
  spec.width = read_number(text, at);
  spec.group = take(",_");
  if (take(".")) {
    const size_t digits = at;
    spec.precision = read_number(text, at);
    if (at == digits) fail("Format specifier missing precision");
  }
  if (at < text.size()) spec.type = text[at++];
  if (at != text.size()) fail("Invalid format specifier '" + std::string(text) + "'");
  return spec;
}

// Thousands marks; zeros that fill up a width get them too.
std::string with_groups(std::string digits, const Spec& spec, size_t every, size_t others) {
  std::string out = grouped(digits, spec.group, every);
  const bool filled = spec.zero && !spec.align;
  while (filled && out.size() + others < static_cast<size_t>(spec.width)) {
    digits.insert(0, "0");
    out = grouped(digits, spec.group, every);
    if (digits.size() > 4096) fail_limit("the format width is too large");
  }
  return out;
}

void format_integer(MarkedText& out, const Value& value, Spec spec) {
  if (spec.precision >= 0) fail("Precision not allowed in integer format specifier");
  if (spec.type == 'c') {
    std::string text;
    append_utf8(text, static_cast<char32_t>(std::clamp<int64_t>(value.as_int(), 0, 0x10FFFF)));
    return pad(out, MarkedText(text, value.trusted), spec, '<');
  }
  std::string digits = integer_digits(magnitude(value.as_int()), spec.type, false);
  const bool decimal = !spec.type || spec.type == 'd' || spec.type == 'n';
  std::string sign = sign_of(value.as_int() < 0, spec.sign);
  if (spec.alternate && !decimal) sign += std::string("0") + spec.type;
  if (spec.group) digits = with_groups(digits, spec, decimal ? 3 : 4, sign.size());
  pad_number(out, sign, digits, spec, value.trusted);
}

void format_float(MarkedText& out, const Value& value, Spec spec) {
  double number = value.as_double();
  const bool negative = std::signbit(number) && !std::isnan(number);
  number = std::fabs(number);
  std::string digits;
  if (spec.type == '%') {
    digits = float_digits(number * 100, 'f', spec.precision, spec.alternate) + "%";
  } else if (!spec.type && spec.precision < 0) {
    digits = float_repr(number);
  } else if (!spec.type) {
    digits = float_digits(number, 'g', spec.precision, spec.alternate);
    if (digits.find_first_of(".en") == std::string::npos) digits += ".0";
  } else {
    const char type = spec.type == 'n' ? 'g' : spec.type;
    digits = float_digits(number, type, spec.precision, spec.alternate);
  }
  if (spec.group) {
    const size_t whole = std::min(digits.find_first_of(".e%"), digits.size());
    const std::string rest = digits.substr(whole);
    const size_t others = rest.size() + sign_of(negative, spec.sign).size();
    digits = with_groups(digits.substr(0, whole), spec, 3, others) + rest;
  }
  pad_number(out, sign_of(negative, spec.sign), digits, spec, value.trusted);
}

void format_value(Runtime& runtime, MarkedText& out, const Value& value, const MarkedText& text) {
  if (text.empty()) return print(runtime, out, value);
  Spec spec = parse_spec(text.view());
  spec.fill_trusted = text.all_trusted();
  const bool float_type = spec.type && std::string_view("eEfFgG%").find(spec.type) != kNposView;
  if (value.is(Type::kString)) {
    if (spec.type && spec.type != 's') {
      fail("Unknown format code '" + std::string(1, spec.type) + "' for object of type 'str'");
    }
    if (spec.align == '=' || spec.sign != '-') fail("format specifier not allowed for a string");
    MarkedText body = value.text();
    if (spec.precision >= 0) {
      body = body.slice(0, byte_offset(body.view(), false, spec.precision));
    }
    return pad(out, body, spec, '<');
  }
  if (value.is(Type::kFloat) || (value.is_integral() && float_type)) {
    if (spec.type && !float_type && spec.type != 'n') {
      fail("Unknown format code '" + std::string(1, spec.type) + "' for object of type 'float'");
    }
    return format_float(out, value, spec);
  }
  if (value.is_integral() && (!value.is(Type::kBool) || spec.type)) {
    if (spec.type && std::string_view("bcdoxXn").find(spec.type) == kNposView) {
      fail("Unknown format code '" + std::string(1, spec.type) + "' for object of type 'int'");
    }
    return format_integer(out, value, spec);
  }
  if (value.is(Type::kBool))
    return format_integer(out, int_value(value.as_int(), value.trusted), spec);
  fail("unsupported format string passed to " + std::string(type_name(value)) + ".__format__");
}

class Braces {
 public:
  Braces(Runtime& runtime, const Args& args) : runtime_(runtime), args_(args) {}

  MarkedText run(const MarkedText& format, int level) {
    if (level > 2) fail("Max string recursion exceeded");
    const std::string_view text = format.view();
    MarkedText out;
    for (size_t at = 0; at < text.size();) {
      const size_t brace = std::min(text.find_first_of("{}", at), text.size());
      out.append(format, at, brace);
      runtime_.budget.expect(out.size());
      if (brace == text.size()) break;
      if (brace + 1 < text.size() && text[brace + 1] == text[brace]) {
        out.append(format, brace, brace + 1);
        at = brace + 2;
        continue;
      }
      if (text[brace] == '}') fail("Single '}' encountered in format string");
      const size_t close = matching(text, brace);
      field(out, format.slice(brace + 1, close), level);
      at = close + 1;
    }
    return out;
  }

 private:
  static size_t matching(std::string_view text, size_t open) {
    int depth = 0;
    for (size_t at = open; at < text.size(); ++at) {
      if (text[at] == '{') ++depth;
      if (text[at] == '}' && --depth == 0) return at;
    }
    fail("expected '}' before end of string");
  }

  void field(MarkedText& out, const MarkedText& field, int level) {
    runtime_.budget.step();
    const std::string_view text = field.view();
    size_t name_end = 0;
    bool bracket = false;
    while (name_end < text.size() &&
           (bracket || (text[name_end] != ':' && text[name_end] != '!'))) {
      if (text[name_end] == '[') bracket = true;
      if (text[name_end] == ']') bracket = false;
      ++name_end;
    }
    Value value = lookup(text.substr(0, name_end));
    size_t at = name_end;
    if (at < text.size() && text[at] == '!') {
      if (at + 1 >= text.size()) fail("end of string while looking for conversion specifier");
      const char kind = text[at + 1];
      if (kind != 's' && kind != 'r' && kind != 'a') fail("Unknown conversion specifier");
      MarkedText shown;
      if (kind == 's') {
        print(runtime_, shown, value);
      } else {
        print_repr(runtime_, shown, value);
      }
      value = runtime_.string(std::move(shown));
      at += 2;
      if (at < text.size() && text[at] != ':') fail("expected ':' after conversion specifier");
    }
    const MarkedText spec =
        at < text.size() ? run(field.slice(at + 1, text.size()), level + 1) : MarkedText();
    format_value(runtime_, out, value, spec);
  }

  Value lookup(std::string_view name) {
    const size_t end = std::min(name.find_first_of(".["), name.size());
    Value value = argument(name.substr(0, end));
    for (size_t at = end; at < name.size();) {
      if (name[at] == '.') {
        const size_t stop = std::min(name.find_first_of(".[", at + 1), name.size());
        const Value key = runtime_.string(std::string(name.substr(at + 1, stop - at - 1)), true);
        value = runtime_.attribute(value, key);
        at = stop;
      } else if (name[at] == '[') {
        const size_t stop = name.find(']', at);
        if (stop == std::string_view::npos) fail("Missing ']' in format string");
        const std::string_view inner = name.substr(at + 1, stop - at - 1);
        value = runtime_.item(value, key_of(inner));
        at = stop + 1;
      } else {
        fail("Only '.' or '[' may follow ']' in format field specifier");
      }
    }
    return value;
  }

  static std::optional<int64_t> as_index(std::string_view text) {
    int64_t out = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), out);
    if (text.empty() || read.ec != std::errc() || read.ptr != text.data() + text.size()) return {};
    return out;
  }

  Value key_of(std::string_view text) {
    if (const auto index = as_index(text)) return int_value(*index);
    return runtime_.string(std::string(text), true);
  }

  Value argument(std::string_view name) {
    auto index = as_index(name);
    if (name.empty()) {
      if (manual_) fail("cannot switch from manual field specification to automatic numbering");
      automatic_ = true;
      index = next_++;
    } else if (index) {
      if (automatic_) fail("cannot switch from automatic field numbering to manual specification");
      manual_ = true;
    }
    if (index) {
      if (*index < 0 || *index >= static_cast<int64_t>(args_.positional.size())) {
        fail("Replacement index " + std::to_string(*index) + " out of range");
      }
      return args_.positional[static_cast<size_t>(*index)];
    }
    const Value* found = args_.find(name);
    if (!found) fail("format key '" + std::string(name) + "' is missing");
    return *found;
  }

  Runtime& runtime_;
  const Args& args_;
  int64_t next_ = 0;
  bool automatic_ = false, manual_ = false;
};

}  // namespace

MarkedText format_percent(Runtime& runtime, const MarkedText& format, const Value& args) {
  return Percent(runtime, format, args).run();
}

MarkedText format_braces(Runtime& runtime, const MarkedText& format, const Args& args) {
  return Braces(runtime, args).run(format, 0);
}

}  // namespace serval::chat
