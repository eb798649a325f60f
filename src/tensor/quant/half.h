// 16-bit floats <-> float32, in integer arithmetic: exact on every machine.
//
//   F16   s eeeee mmmmmmmmmm       IEEE 754 binary16
//   BF16  s eeeeeeee mmmmmmm       the upper half of a binary32
//
// Functions are static: files compiled for different instruction sets must not share them.
#pragma once

#include <cstdint>
#include <cstring>

namespace serval {

static inline float float_from_bits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

static inline uint32_t bits_of_float(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

static inline float decode_f16(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000) << 16;
  const uint32_t exponent = (h >> 10) & 0x1F;
  const uint32_t mantissa = h & 0x3FF;
  if (exponent == 0) {
    // Zero or subnormal: mantissa * 2^-24, exact in float32.
    const float magnitude = static_cast<float>(mantissa) * 5.9604644775390625e-8f;
    return float_from_bits(sign | bits_of_float(magnitude));
  }
  if (exponent == 31) return float_from_bits(sign | 0x7F800000u | (mantissa << 13));
  return float_from_bits(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

// Rounds to nearest, ties to even; overflow becomes infinity, NaN stays NaN.
static inline uint16_t encode_f16(float value) {
  const uint32_t bits = bits_of_float(value);
  const uint32_t sign = (bits >> 16) & 0x8000;
  const uint32_t magnitude = bits & 0x7FFFFFFF;
  uint32_t half;
  if (magnitude > 0x7F800000) {
    half = 0x7E00 | ((magnitude >> 13) & 0x3FF);
  } else if (magnitude >= 0x477FF000) {  // 65520 and above round to infinity
    half = 0x7C00;
  } else if (magnitude >= 0x38800000) {  // normal: drop 13 bits
    const uint32_t rounded = magnitude + 0xFFF + ((magnitude >> 13) & 1);
    half = (rounded >> 13) - (112u << 10);
  } else if (magnitude > 0x33000000) {  // subnormal: shift the full mantissa into place
    const uint32_t shift = 126 - (magnitude >> 23);
    const uint32_t mantissa = (magnitude & 0x7FFFFF) | 0x800000;
    const uint32_t tie = 1u << (shift - 1);
    half = (mantissa + (tie - 1) + ((mantissa >> shift) & 1)) >> shift;
  } else {
    half = 0;
  }
  return static_cast<uint16_t>(sign | half);
}

static inline float decode_bf16(uint16_t b) {
  return float_from_bits(static_cast<uint32_t>(b) << 16);
}

// Rounds to nearest, ties to even; NaN stays a quiet NaN.
static inline uint16_t encode_bf16(float value) {
  const uint32_t bits = bits_of_float(value);
  if ((bits & 0x7FFFFFFF) > 0x7F800000) return static_cast<uint16_t>((bits >> 16) | 64);
  return static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

}  // namespace serval
