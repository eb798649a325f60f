// Filters that make or round numbers, and the look-up of all filters.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "text/chat/runtime.h"
#include "text/chat/unicode.h"

namespace serval::chat {
namespace {

Value abs_filter(Runtime&, const Value& subject, const Args& args) {
  const Bound bound("abs", args, {});
  if (!subject.is_number())
    fail("bad operand type for abs(): '" + std::string(type_name(subject)) + "'");
  if (subject.is(Type::kFloat)) return float_value(std::fabs(subject.number), subject.trusted);
  return subject.as_int() < 0 ? negate(subject) : int_value(subject.as_int(), subject.trusted);
}

std::string stripped(std::string_view text) {
  const size_t begin = strip_start(text, {}, true);
  return std::string(text.substr(begin, strip_end(text, begin, {}, true) - begin));
}

// Removes underscores between digits; nullopt when one stands elsewhere.
std::optional<std::string> without_underscores(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto alnum = [&](size_t at) {
      return at < text.size() && std::isalnum(static_cast<unsigned char>(text[at]));
    };
    if (text[i] != '_') {
      out += text[i];
    } else if (i == 0 || !alnum(i - 1) || !alnum(i + 1)) {
      return std::nullopt;
    }
  }
  return out;
}

// int(text, base).
std::optional<int64_t> parse_int(std::string_view text, int64_t base) {
  if (base != 0 && (base < 2 || base > 36)) return std::nullopt;
  auto digits = without_underscores(stripped(text));
  if (!digits || digits->empty()) return std::nullopt;
  std::string body = *digits;
  const bool negative = body[0] == '-';
  if (body[0] == '-' || body[0] == '+') body.erase(0, 1);
  if (body.size() > 2 && body[0] == '0') {
    const char mark = static_cast<char>(body[1] | 0x20);
    const int64_t named = mark == 'x' ? 16 : (mark == 'o' ? 8 : (mark == 'b' ? 2 : -1));
    if (named > 0 && (base == 0 || base == named)) {
      base = named;
      body.erase(0, 2);
    }
  }
  if (base == 0) {
    if (body.size() > 1 && body[0] == '0' && body.find_first_not_of('0') != std::string::npos) {
      return std::nullopt;
    }
    base = 10;
  }
  if (body.empty() || body[0] == '-') return std::nullopt;
  uint64_t value = 0;
  const auto read =
      std::from_chars(body.data(), body.data() + body.size(), value, static_cast<int>(base));
  if (read.ptr != body.data() + body.size()) return std::nullopt;
  const uint64_t limit = static_cast<uint64_t>(INT64_MAX) + (negative ? 1 : 0);
  if (read.ec != std::errc() || value > limit) fail("integer beyond 64 bits");
  return negative ? static_cast<int64_t>(0 - value) : static_cast<int64_t>(value);
}

// float(text).
std::optional<double> parse_float(std::string_view text) {
  auto body = without_underscores(stripped(text));
  if (!body || body->empty()) return std::nullopt;
  std::string lower = *body;
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const bool negative = lower[0] == '-';
  if (lower[0] == '-' || lower[0] == '+') lower.erase(0, 1);
  double value = 0;
  if (lower == "inf" || lower == "infinity") {
    value = HUGE_VAL;
  } else if (lower == "nan") {
    value = NAN;
  } else {
    if (lower.empty() || lower.find_first_not_of("0123456789.e+-") != std::string::npos) {
      return std::nullopt;
    }
    const auto read = std::from_chars(lower.data(), lower.data() + lower.size(), value);
    if (read.ptr != lower.data() + lower.size() || lower[0] == '-') return std::nullopt;
    if (read.ec == std::errc::result_out_of_range) value = std::strtod(lower.c_str(), nullptr);
  }
  return negative ? -value : value;
}

std::optional<int64_t> truncated(double value) {
  if (!std::isfinite(value)) return std::nullopt;
  if (std::fabs(value) >= 9223372036854775808.0) fail("integer beyond 64 bits");
  return static_cast<int64_t>(value);
}

Value int_filter(Runtime&, const Value& subject, const Args& args) {
  const Bound bound("int", args, {"default", "base"});
  const Value fallback = bound[0] ? *bound[0] : int_value(0);
  if (subject.is_integral()) return int_value(subject.as_int(), subject.trusted);
  std::optional<int64_t> value;
  bool trusted = subject.trusted;
  if (subject.is(Type::kFloat)) {
    value = truncated(subject.number);
  } else if (subject.is(Type::kString)) {
    trusted = subject.text().all_trusted();
    value = parse_int(subject.text().view(), bound.integer(1, 10));
    if (!value) {
      if (const auto number = parse_float(subject.text().view())) value = truncated(*number);
    }
  } else if (subject.is(Type::kUndefined)) {
    fail(subject.object ? subject.text().bytes() : "the value is undefined");
  }
  return value ? int_value(*value, trusted) : fallback;
}

Value float_filter(Runtime&, const Value& subject, const Args& args) {
  const Bound bound("float", args, {"default"});
  if (subject.is_number()) return float_value(subject.as_double(), subject.trusted);
  if (subject.is(Type::kString)) {
    if (const auto value = parse_float(subject.text().view())) {
      return float_value(*value, subject.text().all_trusted());
    }
  } else if (subject.is(Type::kUndefined)) {
    fail(subject.object ? subject.text().bytes() : "the value is undefined");
  }
  return bound[0] ? *bound[0] : float_value(0.0);
}

// Python's round(): correctly rounded decimal, half to even on the exact binary value.
double round_to(double value, int64_t digits) {
  if (!std::isfinite(value) || digits > 300) return value;
  if (digits >= 0) {
    char buffer[1024];
    std::snprintf(buffer, sizeof(buffer), "%.*f", static_cast<int>(digits), value);
    return std::strtod(buffer, nullptr);
  }
  if (digits < -308) return std::copysign(0.0, value);
  const double scale = std::pow(10.0, static_cast<double>(-digits));
  return std::nearbyint(value / scale) * scale;
}

int64_t round_integer(int64_t value, int64_t digits) {
  if (digits >= 0) return value;
  if (digits < -18) return 0;
  int64_t scale = 1;
  for (; digits < 0; ++digits) scale *= 10;
  int64_t rest = value % scale;
  if (rest < 0) rest += scale;
  int64_t down = 0;
  if (__builtin_sub_overflow(value, rest, &down)) fail("integer beyond 64 bits");
  const bool up = rest > scale - rest || (rest == scale - rest && (down / scale) % 2 != 0);
  if (up && __builtin_add_overflow(down, scale, &down)) fail("integer beyond 64 bits");
  return down;
}

Value round_filter(Runtime&, const Value& subject, const Args& args) {
  const Bound bound("round", args, {"precision", "method"});
  const int64_t digits = std::clamp<int64_t>(bound.integer(0, 0), -400, 400);
  const std::string method = bound[1] ? bound.text(1).bytes() : "common";
  if (method != "common" && method != "ceil" && method != "floor") {
    fail("method must be common, ceil or floor");
  }
  if (!subject.is_number()) {
    fail("type " + std::string(type_name(subject)) + " doesn't define __round__ method");
  }
  if (method == "common") {
    if (subject.is(Type::kFloat)) {
      return float_value(round_to(subject.number, digits), subject.trusted);
    }
    return int_value(round_integer(subject.as_int(), digits), subject.trusted);
  }
  const double scale = std::pow(10.0, static_cast<double>(digits));
  const double scaled = subject.as_double() * scale;
  return float_value((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale,
                     subject.trusted);
}

Value filesizeformat(Runtime& runtime, const Value& subject, const Args& args) {
  const Bound bound("filesizeformat", args, {"binary"});
  const bool binary_units = bound.flag(0, false);
  const Value number = float_filter(runtime, subject, {});
  const double base = binary_units ? 1024 : 1000;
  const double bytes = number.number;
  char buffer[64];
  if (bytes == 1) return runtime.string("1 Byte", number.trusted);
  if (bytes < base) {
    std::snprintf(buffer, sizeof(buffer), "%lld Bytes", static_cast<long long>(bytes));
    return runtime.string(buffer, number.trusted);
  }
  static const char* const kPrefixes = "kMGTPEZY";
  double unit = base * base;
  size_t i = 0;
  for (; i < 7 && bytes >= unit; ++i) unit *= base;
  const char prefix = binary_units && i == 0 ? 'K' : kPrefixes[i];
  std::snprintf(buffer, sizeof(buffer), "%.1f %c%sB", base * bytes / unit, prefix,
                binary_units ? "i" : "");
  return runtime.string(buffer, number.trusted);
}

const std::vector<FilterEntry>& all_filters() {
  static const std::vector<FilterEntry> kAll = [] {
    std::vector<FilterEntry> all;
    for (const auto* table :
         {&text_filters(), &sequence_filters(), &number_filters(), &html_filters()}) {
      all.insert(all.end(), table->begin(), table->end());
    }
    std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
    return all;
  }();
  return kAll;
}

}  // namespace

const std::vector<FilterEntry>& number_filters() {
  static const std::vector<FilterEntry> kFilters = {
      {"abs", abs_filter},     {"filesizeformat", filesizeformat},
      {"float", float_filter}, {"int", int_filter},
      {"round", round_filter},
  };
  return kFilters;
}

FilterFunction find_filter(std::string_view name) {
  const auto& all = all_filters();
  const auto found = std::lower_bound(
      all.begin(), all.end(), name,
      [](const FilterEntry& entry, std::string_view key) { return entry.name < key; });
  return found != all.end() && found->name == name ? found->function : nullptr;
}

}  // namespace serval::chat
