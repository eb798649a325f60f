// Arithmetic as Python does it: // and % round towards minus infinity, / gives a float, + joins
// strings and sequences, * repeats them, % formats. Integers are 64 bits: overflow is an error.
#include <cmath>

#include "text/chat/runtime.h"

namespace serval::chat {
namespace {

constexpr const char* kSymbols[] = {"+", "-", "*", "/", "//", "%", "** or pow()"};

[[noreturn]] void fail_types(BinaryOp op, const Value& a, const Value& b) {
  for (const Value* side : {&a, &b}) {
    if (side->is(Type::kUndefined)) {
      fail(side->object ? side->text().bytes() : "the value is undefined");
    }
  }
  if (op == BinaryOp::kAdd && a.is(Type::kString)) {
    fail("can only concatenate str (not \"" + std::string(type_name(b)) + "\") to str");
  }
  fail(std::string("unsupported operand type(s) for ") + kSymbols[static_cast<int>(op)] + ": '" +
       type_name(a) + "' and '" + type_name(b) + "'");
}

[[noreturn]] void fail_overflow() { fail("integer beyond 64 bits"); }

Value power(int64_t base, int64_t exponent, bool trusted) {
  if (exponent < 0) {
    if (base == 0) fail("0.0 cannot be raised to a negative power");
    return float_value(std::pow(static_cast<double>(base), static_cast<double>(exponent)), trusted);
  }
  int64_t result = 1;
  while (exponent > 0) {
    if (exponent & 1 && __builtin_mul_overflow(result, base, &result)) fail_overflow();
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) fail_overflow();
  }
  return int_value(result, trusted);
}

Value integers(BinaryOp op, int64_t a, int64_t b, bool trusted) {
  int64_t out = 0;
  switch (op) {
    case BinaryOp::kAdd:
      if (__builtin_add_overflow(a, b, &out)) fail_overflow();
      return int_value(out, trusted);
    case BinaryOp::kSub:
      if (__builtin_sub_overflow(a, b, &out)) fail_overflow();
      return int_value(out, trusted);
    case BinaryOp::kMul:
      if (__builtin_mul_overflow(a, b, &out)) fail_overflow();
      return int_value(out, trusted);
    case BinaryOp::kDiv:
      if (b == 0) fail("division by zero");
      return float_value(static_cast<double>(static_cast<long double>(a) / b), trusted);
    case BinaryOp::kFloorDiv:
    case BinaryOp::kMod: {
      if (b == 0) fail("integer division or modulo by zero");
      if (b == -1) {
        if (op == BinaryOp::kMod) return int_value(0, trusted);
        return int_value(negate(int_value(a)).integer, trusted);
      }
      const int64_t remainder = a % b;
      const bool adjust = remainder != 0 && (remainder < 0) != (b < 0);
      if (op == BinaryOp::kMod) return int_value(adjust ? remainder + b : remainder, trusted);
      return int_value(a / b - (adjust ? 1 : 0), trusted);
    }
    case BinaryOp::kPow:
      return power(a, b, trusted);
  }
  fail_overflow();
}

Value floats(BinaryOp op, double a, double b, bool trusted) {
  switch (op) {
    case BinaryOp::kAdd:
      return float_value(a + b, trusted);
    case BinaryOp::kSub:
      return float_value(a - b, trusted);
    case BinaryOp::kMul:
      return float_value(a * b, trusted);
    case BinaryOp::kDiv:
      if (b == 0) fail("float division by zero");
      return float_value(a / b, trusted);
    case BinaryOp::kFloorDiv:
    case BinaryOp::kMod: {
      if (b == 0) fail("float floor division or modulo by zero");
      double remainder = std::fmod(a, b);
      double quotient = (a - remainder) / b;
      if (remainder != 0 && (remainder < 0) != (b < 0)) {
        remainder += b;
        quotient -= 1;
      } else if (remainder == 0) {
        remainder = std::copysign(0.0, b);
      }
      if (op == BinaryOp::kMod) return float_value(remainder, trusted);
      double floor = quotient == 0 ? std::copysign(0.0, a / b) : std::floor(quotient);
      if (quotient - floor > 0.5) floor += 1;
      return float_value(floor, trusted);
    }
    case BinaryOp::kPow:
      if (a == 0 && b < 0) fail("0.0 cannot be raised to a negative power");
      if (a < 0 && b != std::floor(b)) fail("complex numbers are not supported");
      return float_value(std::pow(a, b), trusted);
  }
  fail_overflow();
}

Value repeat(Runtime& runtime, const Value& subject, const Value& times) {
  const auto count = static_cast<uint64_t>(std::max<int64_t>(times.as_int(), 0));
  const bool is_text = subject.is(Type::kString);
  const uint64_t unit =
      is_text ? subject.text().size() : subject.list().items.size() * sizeof(Value);
  if (unit != 0 && count > runtime.budget.limits().value_bytes / unit) {
    fail_limit("the repeated value is too long");
  }
  runtime.budget.expect(unit * count);
  if (is_text) {
    MarkedText out;
    out.reserve(unit * count);
    for (uint64_t i = 0; unit != 0 && i < count; ++i) out.append(subject.text());
    if (unit * count == 0) out = subject.text().slice(0, 0);
    return runtime.string(std::move(out));
  }
  std::vector<Value> items;
  for (uint64_t i = 0; unit != 0 && i < count; ++i) {
    items.insert(items.end(), subject.list().items.begin(), subject.list().items.end());
  }
  return list_value(&runtime.budget, std::move(items), subject.type);
}

// Adding to text already escaped for HTML escapes what is added.
MarkedText as_markup(Runtime& runtime, const Value& value) {
  if (value.string().markup) return value.text();
  return find_filter("escape")(runtime, value, {}).text();
}

Value add_strings(Runtime& runtime, const Value& a, const Value& b) {
  runtime.budget.expect(a.text().size() + b.text().size());
  const bool markup = a.string().markup || b.string().markup;
  MarkedText out = markup ? as_markup(runtime, a) : a.text();
  out.append(markup ? as_markup(runtime, b) : b.text());
  return string_value(&runtime.budget, std::move(out), markup);
}

}  // namespace

Value binary(Runtime& runtime, BinaryOp op, const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    const bool trusted = a.trusted && b.trusted;
    if (a.is_integral() && b.is_integral()) return integers(op, a.as_int(), b.as_int(), trusted);
    return floats(op, a.as_double(), b.as_double(), trusted);
  }
  if (op == BinaryOp::kAdd && a.type == b.type) {
    if (a.is(Type::kString)) return add_strings(runtime, a, b);
    if (a.is(Type::kList) || a.is(Type::kTuple)) {
      const auto& more = b.list().items;
      runtime.budget.expect((a.list().items.size() + more.size()) * sizeof(Value));
      std::vector<Value> items = a.list().items;
      items.insert(items.end(), more.begin(), more.end());
      Value out = list_value(&runtime.budget, std::move(items), a.type);
      out.trusted = a.trusted && b.trusted;
      return out;
    }
  }
  const auto repeatable = [](const Value& v) {
    return v.is(Type::kString) || v.is(Type::kList) || v.is(Type::kTuple);
  };
  if (op == BinaryOp::kMul && repeatable(a) && b.is_integral()) return repeat(runtime, a, b);
  if (op == BinaryOp::kMul && repeatable(b) && a.is_integral()) return repeat(runtime, b, a);
  if (op == BinaryOp::kMod && a.is(Type::kString)) {
    return runtime.string(format_percent(runtime, a.text(), b));
  }
  fail_types(op, a, b);
}

Value negate(const Value& value) {
  if (value.is(Type::kFloat)) return float_value(-value.number, value.trusted);
  if (!value.is_integral()) {
    if (value.is(Type::kUndefined)) {
      fail(value.object ? value.text().bytes() : "the value is undefined");
    }
    fail("bad operand type for unary: '" + std::string(type_name(value)) + "'");
  }
  int64_t out = 0;
  if (__builtin_sub_overflow(int64_t{0}, value.as_int(), &out)) fail_overflow();
  return int_value(out, value.trusted);
}

}  // namespace serval::chat
