// Plain C++: every vector is an array, every operation a loop of 16. Runs on any processor.
//
// Products are not fused, so its results differ in the last bits from the other kernel sets'.

#include "backend/cpu/kernel_table.h"

#define SERVAL_INLINE inline __attribute__((always_inline))
#define SERVAL_NOINLINE __attribute__((noinline))
#define SERVAL_UNROLL

namespace serval::cpu {
namespace portable {

struct F32 {
  float v[16];
};
struct I32 {
  int32_t v[16];
};
struct U8 {
  uint8_t v[64];
};
struct U8x16 {
  uint8_t v[16];
};
struct I16 {  // 16 pairs
  int16_t v[32];
};

static constexpr const char* kTableName = "portable";
static constexpr const char* kNumericsId = "cpu-portable-3";
static constexpr int kGroupTokens = 2;
static constexpr int kBulkTile = kTileTokens;

template <typename Vector, typename Each>
static SERVAL_INLINE Vector lanes(const Each& each) {
  Vector out;
  for (int i = 0; i < 16; ++i) out.v[i] = each(i);
  return out;
}

static SERVAL_INLINE float float_of(uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, 4);
  return value;
}
static SERVAL_INLINE uint32_t bits_of(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  return bits;
}

// ---- 16 floats
static SERVAL_INLINE F32 set1(float x) {
  return lanes<F32>([&](int) { return x; });
}
static SERVAL_INLINE F32 zero_f32() { return set1(0.0F); }
static SERVAL_INLINE F32 load_f32(const float* p) {
  F32 out;
  __builtin_memcpy(out.v, p, 64);
  return out;
}
static SERVAL_INLINE void store_f32(float* p, const F32& x) { __builtin_memcpy(p, x.v, 64); }
static SERVAL_INLINE F32 add(const F32& x, const F32& y) {
  return lanes<F32>([&](int i) { return x.v[i] + y.v[i]; });
}
static SERVAL_INLINE F32 sub(const F32& x, const F32& y) {
  return lanes<F32>([&](int i) { return x.v[i] - y.v[i]; });
}
static SERVAL_INLINE F32 mul(const F32& x, const F32& y) {
  return lanes<F32>([&](int i) { return x.v[i] * y.v[i]; });
}
static SERVAL_INLINE F32 div(const F32& x, const F32& y) {
  return lanes<F32>([&](int i) { return x.v[i] / y.v[i]; });
}
static SERVAL_INLINE F32 min(const F32& x, const F32& y) {
  return lanes<F32>([&](int i) { return x.v[i] < y.v[i] ? x.v[i] : y.v[i]; });
}
static SERVAL_INLINE F32 max(const F32& x, const F32& y) {
  return lanes<F32>([&](int i) { return x.v[i] > y.v[i] ? x.v[i] : y.v[i]; });
}
static SERVAL_INLINE F32 negate(const F32& x) {
  return lanes<F32>([&](int i) { return -x.v[i]; });
}
static SERVAL_INLINE F32 abs(const F32& x) {
  return lanes<F32>([&](int i) { return x.v[i] < 0.0F ? -x.v[i] : x.v[i]; });
}
static SERVAL_INLINE F32 fma(const F32& x, const F32& y, const F32& z) {
  return lanes<F32>([&](int i) { return x.v[i] * y.v[i] + z.v[i]; });
}
static SERVAL_INLINE F32 fma_broadcast(const F32& x, const float* y, const F32& z) {
  return lanes<F32>([&](int i) { return x.v[i] * *y + z.v[i]; });
}
// Nearest even for |x| < 2^22: adding 1.5 * 2^23 leaves no fraction bits.
static constexpr float kRounder = 12582912.0F;
static SERVAL_INLINE F32 round_f32(const F32& x) {
  return lanes<F32>([&](int i) { return (x.v[i] + kRounder) - kRounder; });
}
static SERVAL_INLINE F32 zero_where_less(const F32& value, const F32& x, float limit) {
  return lanes<F32>([&](int i) { return x.v[i] < limit ? 0.0F : value.v[i]; });
}
static SERVAL_INLINE F32 select_bits(uint32_t bits, const F32& set, const F32& clear) {
  return lanes<F32>([&](int i) { return (bits >> i & 1) != 0 ? set.v[i] : clear.v[i]; });
}
static SERVAL_INLINE float reduce_add(const F32& x) {
  F32 s = x;
  for (int n = 8; n > 0; n /= 2) {
    for (int i = 0; i < n; ++i) s.v[i] += s.v[i + n];
  }
  return s.v[0];
}
static SERVAL_INLINE float reduce_max(const F32& x) {
  float largest = x.v[0];
  for (int i = 1; i < 16; ++i) largest = x.v[i] > largest ? x.v[i] : largest;
  return largest;
}
static SERVAL_INLINE bool any_not_finite(const F32& x, const F32& y) {
  bool found = false;
  for (int i = 0; i < 16; ++i) {
    found = found || (bits_of(x.v[i]) & 0x7F800000) == 0x7F800000 ||
            (bits_of(y.v[i]) & 0x7F800000) == 0x7F800000;
  }
  return found;
}
static SERVAL_INLINE float sqrt_f32(float x) { return __builtin_sqrtf(x); }

// ---- 16-bit floats
static SERVAL_INLINE float f16_value(const uint8_t* p) {
  uint16_t half;
  __builtin_memcpy(&half, p, 2);
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t shifted = static_cast<uint32_t>(half & 0x7FFF) << 13;
  // Moves the exponent from bias 15 to 127; subnormals become normal on the way.
  const uint32_t scaled = bits_of(float_of(shifted) * 0x1p112F);
  const bool special = shifted >= 0x0F800000;  // infinity, NaN
  return float_of(sign | (special ? shifted | 0x7F800000 : scaled));
}
static SERVAL_INLINE uint16_t f16_bits(float x) {
  const uint32_t bits = bits_of(x);
  const uint32_t sign = bits >> 16 & 0x8000;
  const uint32_t size = bits & 0x7FFFFFFF;
  uint32_t half;
  if (size > 0x7F800000) {
    half = 0x7E00;
  } else if (size >= 0x477FF000) {  // rounds to 65536 or more
    half = 0x7C00;
  } else if (size < 0x38800000) {  // subnormal: the float adder rounds at the last half bit
    half = bits_of(float_of(size) + 0.5F) - bits_of(0.5F);
  } else {
    half = (size + 0xFFF + (size >> 13 & 1) - 0x38000000) >> 13;
  }
  return static_cast<uint16_t>(sign | half);
}
static SERVAL_INLINE F32 load_f16(const uint8_t* p) {
  return lanes<F32>([&](int i) { return f16_value(p + 2 * i); });
}
static SERVAL_INLINE void store_f16(uint16_t* p, const F32& x) {
  for (int i = 0; i < 16; ++i) p[i] = f16_bits(x.v[i]);
}
static SERVAL_INLINE F32 load_bf16(const uint8_t* p) {
  return lanes<F32>([&](int i) {
    uint16_t half;
    __builtin_memcpy(&half, p + 2 * i, 2);
    return float_of(static_cast<uint32_t>(half) << 16);
  });
}
// The first and the second of 16 pairs.
static SERVAL_INLINE uint32_t pair_of(const uint8_t* p, int i) {
  uint32_t pair;
  __builtin_memcpy(&pair, p + 4 * i, 4);
  return pair;
}
static SERVAL_INLINE F32 load_bf16_even(const uint8_t* p) {
  return lanes<F32>([&](int i) { return float_of(pair_of(p, i) << 16); });
}
static SERVAL_INLINE F32 load_bf16_odd(const uint8_t* p) {
  return lanes<F32>([&](int i) { return float_of(pair_of(p, i) & 0xFFFF0000U); });
}

// ---- 16 integers
static SERVAL_INLINE I32 set1_i32(int x) {
  return lanes<I32>([&](int) { return x; });
}
static SERVAL_INLINE I32 zero_i32() { return set1_i32(0); }
static SERVAL_INLINE I32 broadcast_i32(const uint8_t* p) {
  int32_t value;
  __builtin_memcpy(&value, p, 4);
  return set1_i32(value);
}
static SERVAL_INLINE I32 load_i8_i32(const uint8_t* p) {
  return lanes<I32>([&](int i) { return static_cast<int8_t>(p[i]); });
}
static SERVAL_INLINE I32 add_i32(const I32& x, const I32& y) {
  return lanes<I32>([&](int i) { return x.v[i] + y.v[i]; });
}
static SERVAL_INLINE I32 sub_i32(const I32& x, const I32& y) {
  return lanes<I32>([&](int i) { return x.v[i] - y.v[i]; });
}
static SERVAL_INLINE F32 to_f32(const I32& x) {
  return lanes<F32>([&](int i) { return static_cast<float>(x.v[i]); });
}
static SERVAL_INLINE I32 to_i32(const F32& x) {  // of rounded, small values
  return lanes<I32>(
      [&](int i) { return static_cast<int32_t>(bits_of(x.v[i] + kRounder) - bits_of(kRounder)); });
}
// 2^n for n = -126 .. 127
static SERVAL_INLINE F32 power_of_two(const I32& n) {
  return lanes<F32>([&](int i) { return float_of(static_cast<uint32_t>(n.v[i] + 127) << 23); });
}

// ---- 16 bytes, one for each row. Shifts may cross byte borders; callers mask.
static SERVAL_INLINE U8x16 load_16(const uint8_t* p) {
  return lanes<U8x16>([&](int i) { return p[i]; });
}
static SERVAL_INLINE U8x16 and_16(const U8x16& x, int mask) {
  return lanes<U8x16>([&](int i) { return static_cast<uint8_t>(x.v[i] & mask); });
}
static SERVAL_INLINE U8x16 or_16(const U8x16& x, const U8x16& y) {
  return lanes<U8x16>([&](int i) { return static_cast<uint8_t>(x.v[i] | y.v[i]); });
}
static SERVAL_INLINE U8x16 srl_16(const U8x16& x, int n) {
  return lanes<U8x16>([&](int i) { return static_cast<uint8_t>(x.v[i] >> n); });
}
static SERVAL_INLINE U8x16 sll_16(const U8x16& x, int n) {
  return lanes<U8x16>([&](int i) { return static_cast<uint8_t>(x.v[i] << n); });
}
static SERVAL_INLINE I32 widen(const U8x16& x) {
  return lanes<I32>([&](int i) { return x.v[i]; });
}

// ---- 16 pairs of 16-bit integers
static SERVAL_INLINE I16 load_i8_pairs(const uint8_t* p) {
  I16 out;
  for (int i = 0; i < 32; ++i) out.v[i] = static_cast<int8_t>(p[i]);
  return out;
}
// sum[i] += x[2i] y[0] + x[2i + 1] y[1]
static SERVAL_INLINE void dot_pairs_broadcast(I32& sum, const I16& x, const int16_t* y) {
  for (int i = 0; i < 16; ++i) sum.v[i] += x.v[2 * i] * y[0] + x.v[2 * i + 1] * y[1];
}
static SERVAL_INLINE void store_i16(int16_t* p, const I32& x) {
  for (int i = 0; i < 16; ++i) {
    const int32_t most = x.v[i] < 32767 ? x.v[i] : 32767;
    p[i] = static_cast<int16_t>(most > -32768 ? most : -32768);
  }
}

template <int kTimes>
static SERVAL_INLINE void pace() {}

// ---- lines of 64 bytes
template <int kRows = kTileTokens>
static SERVAL_INLINE U8 load_line(const uint8_t* p) {
  U8 out;
  __builtin_memcpy(out.v, p, 64);
  return out;
}
static SERVAL_INLINE void store_line(uint8_t* p, const U8& x) { __builtin_memcpy(p, x.v, 64); }
static SERVAL_INLINE U8 and_line(const U8& x, int mask) {
  U8 out;
  for (int i = 0; i < 64; ++i) out.v[i] = static_cast<uint8_t>(x.v[i] & mask);
  return out;
}
static SERVAL_INLINE U8 or_line(const U8& x, const U8& y) {
  U8 out;
  for (int i = 0; i < 64; ++i) out.v[i] = static_cast<uint8_t>(x.v[i] | y.v[i]);
  return out;
}
template <int kBits>
static SERVAL_INLINE U8 srl_line(const U8& x) {
  U8 out;
  for (int i = 0; i < 64; ++i) out.v[i] = static_cast<uint8_t>(x.v[i] >> kBits);
  return out;
}
template <int kBits>
static SERVAL_INLINE U8 sll_line(const U8& x) {
  U8 out;
  for (int i = 0; i < 64; ++i) out.v[i] = static_cast<uint8_t>(x.v[i] << kBits);
  return out;
}
static SERVAL_INLINE U8 lookup_line(const uint8_t* table, const U8& index) {
  U8 out;
  for (int i = 0; i < 64; ++i) out.v[i] = table[index.v[i]];
  return out;
}

// ---- dot products of bytes
static constexpr int dot_bias(int) { return 0; }
static constexpr int dot_most(int) { return 255; }

template <int kMost>
struct DotWeights {
  U8 line;
  DotWeights() = default;
  SERVAL_INLINE explicit DotWeights(const U8& bytes) : line(bytes) {}
};

template <int kMost, int kLines>
struct DotSum {
  I32 sum;
  DotSum() = default;
  SERVAL_INLINE explicit DotSum(const uint8_t* first)
      : sum(first == nullptr ? zero_i32() : broadcast_i32(first)) {}
  SERVAL_INLINE void add(int, const DotWeights<kMost>& w, const int8_t* a) {
    for (int i = 0; i < 16; ++i) {
      sum.v[i] += w.line.v[4 * i] * a[0] + w.line.v[4 * i + 1] * a[1] + w.line.v[4 * i + 2] * a[2] +
                  w.line.v[4 * i + 3] * a[3];
    }
  }
  SERVAL_INLINE I32 total() const { return sum; }
};

// The first of the 16 lanes that equals x; 16: none.
static SERVAL_INLINE int first_equal(const F32& v, float x) {
  int i = 0;
  while (i < 16 && v.v[i] != x) ++i;
  return i;
}
// Nearest even; |x| < 2^22.
static SERVAL_INLINE int round_to_int(float x) {
  return static_cast<int>(bits_of(x + kRounder) - bits_of(kRounder));
}

// Rounds x * inverse to int8 (nearest even) and returns the sum.
static SERVAL_INLINE int quantize_16(const F32& x, float inverse, int8_t* out) {
  int sum = 0;
  for (int i = 0; i < 16; ++i) {
    int32_t q = static_cast<int32_t>(bits_of(x.v[i] * inverse + kRounder) - bits_of(kRounder));
    q = q < -128 ? -128 : q > 127 ? 127 : q;  // only for infinities and NaN
    out[i] = static_cast<int8_t>(q);
    sum += q;
  }
  return sum;
}

static SERVAL_INLINE void quantize_32(F32 a, F32 b, float inverse, int8_t* out, int* sums) {
  sums[0] = quantize_16(a, inverse, out);
  sums[1] = quantize_16(b, inverse, out + 16);
}

// The two largest of 32 values that are not negative.
static SERVAL_INLINE void top_two(const F32& x, const F32& y, float* top) {
  top[0] = 0.0F;
  top[1] = 0.0F;
  for (int i = 0; i < 32; ++i) {
    const float value = i < 16 ? x.v[i] : y.v[i - 16];
    if (value > top[0]) {
      top[1] = top[0];
      top[0] = value;
    } else if (value > top[1]) {
      top[1] = value;
    }
  }
}

#include "backend/cpu/kernels/kernels.inl"

// ---- probes

static uint64_t read_memory(const uint8_t* data, size_t bytes) {
  uint64_t all = 0;
  for (size_t at = 0; at + 64 <= bytes; at += 64) {
    for (size_t i = 0; i < 64; i += 8) {
      uint64_t word;
      __builtin_memcpy(&word, data + at + i, 8);
      all |= word;
    }
  }
  return all;
}

static double dot_macs(int64_t repeats) {
  static const int8_t operand[64] = {1};
  DotSum<255, 1> sum[4];
  for (DotSum<255, 1>& s : sum) s = DotSum<255, 1>(nullptr);
  U8 line;
  for (int i = 0; i < 64; ++i) line.v[i] = 1;
  const DotWeights<255> w(line);
  for (int64_t r = 0; r < repeats; ++r) {
    for (int i = 0; i < 4; ++i) {
      sum[i].add(i, w, operand + 4 * i);
      asm volatile("" ::"r"(&sum[i]) : "memory");
    }
  }
  return static_cast<double>(repeats) * 4.0 * 64.0;
}

static double fma_macs(int64_t repeats) {
  F32 sum[2] = {zero_f32(), zero_f32()};
  const F32 ones = set1(1.0F);
  for (int64_t r = 0; r < repeats; ++r) {
    for (F32& s : sum) {
      s = fma(ones, ones, s);
      asm volatile("" ::"r"(&s) : "memory");
    }
  }
  return static_cast<double>(repeats) * 2.0 * 16.0;
}

static constexpr double (*kBf16Macs)(int64_t) = nullptr;

#include "backend/cpu/kernels/table.inl"

}  // namespace portable

const KernelTable* portable_kernels() { return &portable::kTable; }

}  // namespace serval::cpu
