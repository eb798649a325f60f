// "{:>5}".format(x): the format specification mini-language. Literal parts keep the trust of the
// format string, inserted values their own.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/chat/format_spec.h"
#include "text/chat/runtime.h"
#include "text/chat/unicode.h"

namespace serval::chat {
namespace {

constexpr size_t kNposView = std::string_view::npos;

std::string grouped(const std::string& digits, char mark, size_t every) {
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i && (digits.size() - i) % every == 0) out += mark;
    out += digits[i];
  }
  return out;
}

int64_t read_number(std::string_view text, size_t& at) {
  int64_t out = 0;
  for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
    out = out * 10 + (text[at] - '0');
    if (out > kMaxFormatWidth) fail_limit("the format width is too large");
  }
  return out;
}

FormatSpec parse_spec(std::string_view text) {
  FormatSpec spec;
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
std::string with_groups(std::string digits, const FormatSpec& spec, size_t every, size_t others) {
  std::string out = grouped(digits, spec.group, every);
  const bool filled = spec.zero && !spec.align;
  while (filled && out.size() + others < static_cast<size_t>(spec.width)) {
    digits.insert(0, "0");
    out = grouped(digits, spec.group, every);
    if (digits.size() > 4096) fail_limit("the format width is too large");
  }
  return out;
}

void format_integer(MarkedText& out, const Value& value, const FormatSpec& spec) {
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

void format_float(MarkedText& out, const Value& value, const FormatSpec& spec) {
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
  FormatSpec spec = parse_spec(text.view());
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

MarkedText format_braces(Runtime& runtime, const MarkedText& format, const Args& args) {
  return Braces(runtime, args).run(format, 0);
}

}  // namespace serval::chat
