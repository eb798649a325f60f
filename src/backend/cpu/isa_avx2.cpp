// AVX2 with FMA and F16C: two registers are one line of 16 rows x 4 k, rows 0-7 and 8-15.

#include "backend/cpu/kernel_table.h"

#if defined(__AVX2__)
#include <immintrin.h>

#include "backend/cpu/kernels/attributes.inl"

namespace serval::cpu {
namespace avx2 {

struct F32 {
  __m256 a, b;
};
struct I32 {
  __m256i a, b;
};
using U8 = I32;
using U8x16 = __m128i;
using I16 = I32;  // 16 pairs

static constexpr const char* kTableName = "avx2";
static constexpr const char* kNumericsId = "cpu-avx2-3";
static constexpr int kGroupTokens = 4;
static constexpr int kBulkTile = kTileTokens;

// ---- 16 floats
static SERVAL_INLINE F32 zero_f32() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
static SERVAL_INLINE F32 set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
static SERVAL_INLINE F32 load_f32(const float* p) {
  return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
static SERVAL_INLINE void store_f32(float* p, F32 v) {
  _mm256_storeu_ps(p, v.a);
  _mm256_storeu_ps(p + 8, v.b);
}
static SERVAL_INLINE F32 add(F32 x, F32 y) {
  return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)};
}
static SERVAL_INLINE F32 sub(F32 x, F32 y) {
  return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)};
}
static SERVAL_INLINE F32 mul(F32 x, F32 y) {
  return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
}
static SERVAL_INLINE F32 div(F32 x, F32 y) {
  return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)};
}
static SERVAL_INLINE F32 min(F32 x, F32 y) {
  return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)};
}
static SERVAL_INLINE F32 max(F32 x, F32 y) {
  return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)};
}
static SERVAL_INLINE F32 negate(F32 x) {
  const __m256 sign = _mm256_set1_ps(-0.0F);
  return {_mm256_xor_ps(x.a, sign), _mm256_xor_ps(x.b, sign)};
}
static SERVAL_INLINE F32 abs(F32 x) {
  const __m256 sign = _mm256_set1_ps(-0.0F);
  return {_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b)};
}
static SERVAL_INLINE F32 fma(F32 x, F32 y, F32 z) {
  return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
static SERVAL_INLINE F32 fma_broadcast(F32 x, const float* y, F32 z) {
  const __m256 all = _mm256_broadcast_ss(y);
  return {_mm256_fmadd_ps(x.a, all, z.a), _mm256_fmadd_ps(x.b, all, z.b)};
}
static SERVAL_INLINE F32 round_f32(F32 x) {
  constexpr int kMode = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(x.a, kMode), _mm256_round_ps(x.b, kMode)};
}
static SERVAL_INLINE F32 zero_where_less(F32 value, F32 x, float limit) {
  const __m256 bound = _mm256_set1_ps(limit);
  return {_mm256_and_ps(value.a, _mm256_cmp_ps(x.a, bound, _CMP_NLT_UQ)),
          _mm256_and_ps(value.b, _mm256_cmp_ps(x.b, bound, _CMP_NLT_UQ))};
}
static SERVAL_INLINE F32 select_bits(uint32_t bits, F32 set, F32 clear) {
  const __m256i all = _mm256_set1_epi32(static_cast<int>(bits));
  const __m256i low = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  const __m256i high = _mm256_slli_epi32(low, 8);
  const __m256 a = _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(all, low), low));
  const __m256 b = _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(all, high), high));
  return {_mm256_blendv_ps(clear.a, set.a, a), _mm256_blendv_ps(clear.b, set.b, b)};
}
static SERVAL_INLINE float reduce_add(F32 x) {
  const __m256 b = _mm256_add_ps(x.a, x.b);
  const __m128 c = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
  const __m128 d = _mm_add_ps(c, _mm_movehl_ps(c, c));
  return _mm_cvtss_f32(_mm_add_ss(d, _mm_movehdup_ps(d)));
}
static SERVAL_INLINE float reduce_max(F32 x) {
  const __m256 b = _mm256_max_ps(x.a, x.b);
  const __m128 c = _mm_max_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
  const __m128 d = _mm_max_ps(c, _mm_movehl_ps(c, c));
  return _mm_cvtss_f32(_mm_max_ss(d, _mm_movehdup_ps(d)));
}
static SERVAL_INLINE bool any_not_finite(F32 x, F32 y) {
  const F32 p = abs(x);
  const F32 q = abs(y);
  const __m256 limit = _mm256_set1_ps(__builtin_inff());
  const __m256 in_x =
      _mm256_or_ps(_mm256_cmp_ps(p.a, limit, _CMP_NLT_UQ), _mm256_cmp_ps(p.b, limit, _CMP_NLT_UQ));
  const __m256 in_y =
      _mm256_or_ps(_mm256_cmp_ps(q.a, limit, _CMP_NLT_UQ), _mm256_cmp_ps(q.b, limit, _CMP_NLT_UQ));
  return _mm256_movemask_ps(_mm256_or_ps(in_x, in_y)) != 0;
}
static SERVAL_INLINE float sqrt_f32(float x) { return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x))); }

// ---- 16-bit floats
static SERVAL_INLINE F32 load_f16(const void* p) {
  const __m128i* halves = static_cast<const __m128i*>(p);
  return {_mm256_cvtph_ps(_mm_loadu_si128(halves)), _mm256_cvtph_ps(_mm_loadu_si128(halves + 1))};
}
static SERVAL_INLINE void store_f16(uint16_t* p, F32 v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v.a, _MM_FROUND_TO_NEAREST_INT));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8),
                   _mm256_cvtps_ph(v.b, _MM_FROUND_TO_NEAREST_INT));
}
static SERVAL_INLINE F32 load_bf16(const void* p) {
  const __m128i* halves = static_cast<const __m128i*>(p);
  const __m256i a = _mm256_cvtepu16_epi32(_mm_loadu_si128(halves));
  const __m256i b = _mm256_cvtepu16_epi32(_mm_loadu_si128(halves + 1));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(a, 16)),
          _mm256_castsi256_ps(_mm256_slli_epi32(b, 16))};
}
// The first and the second of 16 pairs.
static SERVAL_INLINE F32 load_bf16_even(const void* p) {
  const __m256i* pairs = static_cast<const __m256i*>(p);
  return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_loadu_si256(pairs), 16)),
          _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_loadu_si256(pairs + 1), 16))};
}
static SERVAL_INLINE F32 load_bf16_odd(const void* p) {
  const __m256i* pairs = static_cast<const __m256i*>(p);
  const __m256i high = _mm256_set1_epi32(static_cast<int>(0xFFFF0000U));
  return {_mm256_castsi256_ps(_mm256_and_si256(_mm256_loadu_si256(pairs), high)),
          _mm256_castsi256_ps(_mm256_and_si256(_mm256_loadu_si256(pairs + 1), high))};
}
static SERVAL_INLINE uint16_t f16_bits(float x) {
  return static_cast<uint16_t>(
      _mm_cvtsi128_si32(_mm_cvtps_ph(_mm_set_ss(x), _MM_FROUND_TO_NEAREST_INT)));
}
static SERVAL_INLINE float f16_value(const uint8_t* p) {
  uint16_t bits;
  __builtin_memcpy(&bits, p, 2);
  return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(bits)));
}

// ---- 16 integers
static SERVAL_INLINE I32 zero_i32() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
static SERVAL_INLINE I32 set1_i32(int x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
static SERVAL_INLINE I32 broadcast_i32(const uint8_t* p) {
  int value;
  __builtin_memcpy(&value, p, 4);
  return set1_i32(value);
}
static SERVAL_INLINE I32 load_i8_i32(const uint8_t* p) {
  const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm256_cvtepi8_epi32(v), _mm256_cvtepi8_epi32(_mm_srli_si128(v, 8))};
}
static SERVAL_INLINE I32 add_i32(I32 x, I32 y) {
  return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)};
}
static SERVAL_INLINE I32 sub_i32(I32 x, I32 y) {
  return {_mm256_sub_epi32(x.a, y.a), _mm256_sub_epi32(x.b, y.b)};
}
static SERVAL_INLINE F32 to_f32(I32 x) {
  return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)};
}
static SERVAL_INLINE I32 to_i32(F32 x) {
  return {_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)};
}
// 2^n for n = -126 .. 127
static SERVAL_INLINE F32 power_of_two(I32 n) {
  const __m256i bias = _mm256_set1_epi32(127);
  return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n.a, bias), 23)),
          _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n.b, bias), 23))};
}

// ---- 16 bytes, one for each row. Shifts cross byte borders; callers mask.
static SERVAL_INLINE U8x16 load_16(const uint8_t* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
static SERVAL_INLINE U8x16 and_16(U8x16 v, int mask) {
  return _mm_and_si128(v, _mm_set1_epi8(static_cast<char>(mask)));
}
static SERVAL_INLINE U8x16 or_16(U8x16 a, U8x16 b) { return _mm_or_si128(a, b); }
static SERVAL_INLINE U8x16 srl_16(U8x16 v, int n) { return _mm_srli_epi16(v, n); }
static SERVAL_INLINE U8x16 sll_16(U8x16 v, int n) { return _mm_slli_epi16(v, n); }
static SERVAL_INLINE I32 widen(U8x16 v) {
  return {_mm256_cvtepu8_epi32(v), _mm256_cvtepu8_epi32(_mm_srli_si128(v, 8))};
}

// ---- 16 pairs of 16-bit integers
static SERVAL_INLINE I16 load_i8_pairs(const uint8_t* p) {
  const __m128i* bytes = reinterpret_cast<const __m128i*>(p);
  return {_mm256_cvtepi8_epi16(_mm_loadu_si128(bytes)),
          _mm256_cvtepi8_epi16(_mm_loadu_si128(bytes + 1))};
}
// sum[i] += x[2i] y[2i] + x[2i + 1] y[2i + 1]
static SERVAL_INLINE void dot_pairs(I32& sum, I16 x, I16 y) {
  sum.a = _mm256_add_epi32(sum.a, _mm256_madd_epi16(x.a, y.a));
  sum.b = _mm256_add_epi32(sum.b, _mm256_madd_epi16(x.b, y.b));
}
// sum[i] += x[2i] y[0] + x[2i + 1] y[1]
static SERVAL_INLINE void dot_pairs_broadcast(I32& sum, I16 x, const int16_t* y) {
  dot_pairs(sum, x, broadcast_i32(reinterpret_cast<const uint8_t*>(y)));
}
static SERVAL_INLINE void store_i16(int16_t* p, I32 v) {
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(v.a, v.b), 0xD8);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), words);
}

template <int kTimes>
static SERVAL_INLINE void pace() {}  // its chunks are long enough

// ---- lines of 64 bytes
template <int kRows = kTileTokens>
static SERVAL_INLINE U8 load_line(const uint8_t* p) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 32))};
}
static SERVAL_INLINE void store_line(uint8_t* p, U8 v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v.a);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 32), v.b);
}
static SERVAL_INLINE U8 and_line(U8 v, int mask) {
  const __m256i all = _mm256_set1_epi8(static_cast<char>(mask));
  return {_mm256_and_si256(v.a, all), _mm256_and_si256(v.b, all)};
}
static SERVAL_INLINE U8 or_line(U8 x, U8 y) {
  return {_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)};
}
// Shifts cross byte borders; callers mask.
template <int kBits>
static SERVAL_INLINE U8 srl_line(U8 v) {
  return {_mm256_srli_epi16(v.a, kBits), _mm256_srli_epi16(v.b, kBits)};
}
template <int kBits>
static SERVAL_INLINE U8 sll_line(U8 v) {
  return {_mm256_slli_epi16(v.a, kBits), _mm256_slli_epi16(v.b, kBits)};
}
static SERVAL_INLINE U8 lookup_line(const uint8_t* table, U8 index) {
  const __m256i all =
      _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(table)));
  return {_mm256_shuffle_epi8(all, index.a), _mm256_shuffle_epi8(all, index.b)};
}

// ---- dot products of bytes
//
// vpmaddubsw sums the products of two unsigned weights and two activations (-128 .. 127) in 16
// signed bits. With weights up to kMost a pair is at most 2 * 128 * kMost, so the pairs of
// together(kMost) lines are summed before they are widened, and none of it can saturate or wrap:
//   kMost 15: 8 * 2 * 128 * 15 = 30720, 31: 4 * 2 * 128 * 31 = 31744, 63: 2 * 2 * 128 * 63 = 32256.
// Larger weights are taken as signed (byte - 128), their size times the activation with their sign:
// 2 * 128 * 127 = 32512, as activations that change their sign are not less than -127.
static constexpr int dot_most(int most) {
  return most <= 15 ? 15 : most <= 31 ? 31 : most <= 63 ? 63 : 255;
}
static constexpr int dot_bias(int most) { return dot_most(most) == 255 ? 128 : 0; }
static constexpr int together(int most) {
  return dot_most(most) == 15 ? 8 : dot_most(most) == 31 ? 4 : dot_most(most) == 63 ? 2 : 1;
}

template <int kMost>
struct DotWeights {
  static constexpr bool kWide = dot_bias(kMost) != 0;
  U8 size, sign;
  DotWeights() = default;
  SERVAL_INLINE explicit DotWeights(U8 bytes) : size(bytes), sign(bytes) {
    if (!kWide) return;
    const __m256i flip = _mm256_set1_epi8(static_cast<char>(0x80));
    sign = {_mm256_xor_si256(bytes.a, flip), _mm256_xor_si256(bytes.b, flip)};
    size = {_mm256_abs_epi8(sign.a), _mm256_abs_epi8(sign.b)};
  }
  SERVAL_INLINE I16 pairs(const int8_t* activations) const {
    int four;
    __builtin_memcpy(&four, activations, 4);
    const __m256i all = _mm256_set1_epi32(four);
    const __m256i a = kWide ? _mm256_sign_epi8(all, sign.a) : all;
    const __m256i b = kWide ? _mm256_sign_epi8(all, sign.b) : all;
    return {_mm256_maddubs_epi16(size.a, a), _mm256_maddubs_epi16(size.b, b)};
  }
};

// Of `kLines` lines. The empty statements keep g++ from summing in another order, all products at
// once in more registers than there are.
template <int kMost, int kLines>
struct DotSum {
  static constexpr int kTogether = together(kMost) < kLines ? together(kMost) : kLines;
  const uint8_t* first;
  I16 narrow;
  I32 wide;
  DotSum() = default;
  SERVAL_INLINE explicit DotSum(const uint8_t* at) : first(at), wide(zero_i32()) {}
  SERVAL_INLINE void add(int line, const DotWeights<kMost>& w, const int8_t* a) {
    const I16 pairs = w.pairs(a);
    const bool begin = line % kTogether == 0;
    narrow.a = begin ? pairs.a : _mm256_add_epi16(narrow.a, pairs.a);
    narrow.b = begin ? pairs.b : _mm256_add_epi16(narrow.b, pairs.b);
    asm("" : "+x"(narrow.a), "+x"(narrow.b));
    if (line % kTogether < kTogether - 1) return;
    dot_pairs(wide, narrow, set1_i32(0x00010001));
    asm("" : "+x"(wide.a), "+x"(wide.b));
  }
  SERVAL_INLINE I32 total() const {
    return first == nullptr ? wide : add_i32(wide, broadcast_i32(first));
  }
};

// The first of the 16 lanes that equals x; 16: none.
static SERVAL_INLINE int first_equal(F32 v, float x) {
  const __m256 all = _mm256_set1_ps(x);
  const int low = _mm256_movemask_ps(_mm256_cmp_ps(v.a, all, _CMP_EQ_OQ));
  const int high = _mm256_movemask_ps(_mm256_cmp_ps(v.b, all, _CMP_EQ_OQ));
  return __builtin_ctz(static_cast<unsigned>(low | high << 8) | 0x10000U);
}
static SERVAL_INLINE int round_to_int(float x) { return _mm_cvtss_si32(_mm_set_ss(x)); }

// Rounds x * inverse to int8 (nearest even) and returns the sum.
static SERVAL_INLINE int quantize_16(F32 x, float inverse, int8_t* out) {
  const I32 q = to_i32(mul(x, set1(inverse)));
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(q.a, q.b), 0xD8);
  const __m128i bytes =
      _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), bytes);
  const __m256i b = _mm256_add_epi32(q.a, q.b);
  const __m128i c = _mm_add_epi32(_mm256_castsi256_si128(b), _mm256_extracti128_si256(b, 1));
  const __m128i d = _mm_add_epi32(c, _mm_shuffle_epi32(c, 0x4E));
  return _mm_cvtsi128_si32(_mm_add_epi32(d, _mm_shuffle_epi32(d, 0xB1)));
}

static SERVAL_INLINE void quantize_32(F32 a, F32 b, float inverse, int8_t* out, int* sums) {
  sums[0] = quantize_16(a, inverse, out);
  sums[1] = quantize_16(b, inverse, out + 16);
}

// The two largest of 32 values that are not negative.
static SERVAL_INLINE void top_two(F32 x, F32 y, float* top) {
  const F32 first = max(x, y);
  const F32 second = min(x, y);
  const __m256 c = _mm256_max_ps(first.a, first.b);
  const __m256 d =
      _mm256_max_ps(_mm256_min_ps(first.a, first.b), _mm256_max_ps(second.a, second.b));
  __m128 e = _mm256_castps256_ps128(c);
  __m128 f = _mm256_extractf128_ps(c, 1);
  __m128 largest = _mm_max_ps(e, f);
  __m128 next = _mm_max_ps(_mm_min_ps(e, f),
                           _mm_max_ps(_mm256_castps256_ps128(d), _mm256_extractf128_ps(d, 1)));
  e = _mm_movehl_ps(largest, largest);
  f = _mm_movehl_ps(next, next);
  next = _mm_max_ps(_mm_min_ps(largest, e), _mm_max_ps(next, f));
  largest = _mm_max_ps(largest, e);
  e = _mm_movehdup_ps(largest);
  f = _mm_movehdup_ps(next);
  top[1] = _mm_cvtss_f32(_mm_max_ss(_mm_min_ss(largest, e), _mm_max_ss(next, f)));
  top[0] = _mm_cvtss_f32(_mm_max_ss(largest, e));
}

#include "backend/cpu/kernels/kernels.inl"

// ---- probes

static uint64_t read_memory(const uint8_t* data, size_t bytes) {
  U8 all = zero_i32();
  for (size_t at = 0; at + 256 <= bytes; at += 256) {
    SERVAL_UNROLL
    for (size_t i = 0; i < 4; ++i) all = or_line(all, load_line(data + at + 64 * i));
  }
  alignas(64) uint8_t out[64];
  store_line(out, all);
  return out[0];
}

// Weights of four bits, whose sums are widened least often: no format can be faster.
static double dot_macs(int64_t repeats) {
  constexpr int kLines = 8;
  alignas(64) static const int8_t operand[64] = {1};
  // What the compiler cannot see through: or it would multiply equal halves, and all repeats, once.
  DotWeights<15> w(set1_i32(0x01010101));
  asm volatile("" : "+x"(w.size.a), "+x"(w.size.b));
  DotSum<15, kLines> sum[2] = {DotSum<15, kLines>(nullptr), DotSum<15, kLines>(nullptr)};
  for (int64_t r = 0; r < repeats; ++r) {
    const int8_t* at = operand;
    asm volatile("" : "+r"(at));
    SERVAL_UNROLL
    for (int line = 0; line < kLines; ++line) {
      SERVAL_UNROLL
      for (int i = 0; i < 2; ++i) sum[i].add(line, w, at + 4 * i + 8 * line);
    }
  }
  for (auto& s : sum) asm volatile("" ::"x"(s.wide.a), "x"(s.wide.b));
  return static_cast<double>(repeats) * 2.0 * kLines * 64.0;
}

static double fma_macs(int64_t repeats) {
  F32 sum[6];
  SERVAL_UNROLL
  for (int i = 0; i < 6; ++i) sum[i] = zero_f32();
  const F32 ones = set1(1.0F);
  for (int64_t r = 0; r < repeats; ++r) {
    SERVAL_UNROLL
    for (int i = 0; i < 6; ++i) {
      sum[i] = fma(ones, ones, sum[i]);
      asm volatile("" : "+x"(sum[i].a), "+x"(sum[i].b));
    }
  }
  return static_cast<double>(repeats) * 6.0 * 16.0;
}

static constexpr double (*kBf16Macs)(int64_t) = nullptr;

#include "backend/cpu/kernels/table.inl"

}  // namespace avx2

const KernelTable* avx2_kernels() { return &avx2::kTable; }

}  // namespace serval::cpu

#else

namespace serval::cpu {
const KernelTable* avx2_kernels() { return nullptr; }
}  // namespace serval::cpu

#endif
