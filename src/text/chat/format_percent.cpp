// "%05d" % x: printf-style formatting. Literal parts keep the trust of the format string, inserted
// values their own.
#include <algorithm>
#include <cmath>

#include "text/chat/format_spec.h"
#include "text/chat/runtime.h"
#include "text/chat/unicode.h"

namespace serval::chat {
namespace {

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
      return std::clamp<int64_t>(value.as_int(), -kMaxFormatWidth, kMaxFormatWidth);
    }
    int64_t out = 0;
    for (; peek() >= '0' && peek() <= '9'; ++at_) {
      out = out * 10 + (peek() - '0');
      if (out > kMaxFormatWidth) fail_limit("the format width is too large");
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
    FormatSpec spec;
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

  void convert(const Value& value, const FormatSpec& spec) {
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

  void integer(const Value& value, const FormatSpec& spec) {
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

}  // namespace

MarkedText format_percent(Runtime& runtime, const MarkedText& format, const Value& args) {
  return Percent(runtime, format, args).run();
}

}  // namespace serval::chat
