// The vector vocabulary of AVX-512 with VNNI (F, BW, DQ, VL, VNNI), shared by the kernel sets built
// on it: one register is one line of 16 rows x 4 k.
//
// Products with a broadcast are one instruction of inline assembly, because a broadcast memory
// operand is free in hardware, while compilers make of intrinsics a broadcast into a register,
// which takes a place where the conversions of attention have theirs, and copies of registers.
// Where two panels of weights share a float broadcast, the compiler may have its way (linear.inl).

using F32 = __m512;
using I32 = __m512i;
using U8 = __m512i;
using U8x16 = __m128i;
using I16 = __m512i;  // 16 pairs

static constexpr int kGroupTokens = 8;
static constexpr int kBulkTile = 6;  // two panels and six tokens fill the 32 registers

// ---- 16 floats
static SERVAL_INLINE F32 zero_f32() { return _mm512_setzero_ps(); }
static SERVAL_INLINE F32 set1(float x) { return _mm512_set1_ps(x); }
static SERVAL_INLINE F32 load_f32(const float* p) { return _mm512_loadu_ps(p); }
static SERVAL_INLINE void store_f32(float* p, F32 v) { _mm512_storeu_ps(p, v); }
static SERVAL_INLINE F32 add(F32 a, F32 b) { return _mm512_add_ps(a, b); }
static SERVAL_INLINE F32 sub(F32 a, F32 b) { return _mm512_sub_ps(a, b); }
static SERVAL_INLINE F32 mul(F32 a, F32 b) { return _mm512_mul_ps(a, b); }
static SERVAL_INLINE F32 div(F32 a, F32 b) { return _mm512_div_ps(a, b); }
static SERVAL_INLINE F32 min(F32 a, F32 b) { return _mm512_min_ps(a, b); }
static SERVAL_INLINE F32 max(F32 a, F32 b) { return _mm512_max_ps(a, b); }
static SERVAL_INLINE F32 abs(F32 a) { return _mm512_abs_ps(a); }
static SERVAL_INLINE F32 negate(F32 a) { return _mm512_xor_ps(a, _mm512_set1_ps(-0.0F)); }
static SERVAL_INLINE F32 fma(F32 a, F32 b, F32 c) { return _mm512_fmadd_ps(a, b, c); }
static SERVAL_INLINE F32 fma_broadcast(F32 a, const float* b, F32 c) {
  asm("vfmadd231ps %2%{1to16%}, %1, %0" : "+v"(c) : "v"(a), "m"(*b));
  return c;
}
static SERVAL_INLINE F32 round_f32(F32 a) {
  return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static SERVAL_INLINE F32 zero_where_less(F32 value, F32 x, float limit) {
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, _mm512_set1_ps(limit), _CMP_NLT_UQ), value);
}
static SERVAL_INLINE F32 select_bits(uint32_t bits, F32 set, F32 clear) {
  return _mm512_mask_blend_ps(static_cast<__mmask16>(bits), clear, set);
}
static SERVAL_INLINE float reduce_add(F32 a) {
  const __m256 b = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
  const __m128 c = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
  const __m128 d = _mm_add_ps(c, _mm_movehl_ps(c, c));
  return _mm_cvtss_f32(_mm_add_ss(d, _mm_movehdup_ps(d)));
}
static SERVAL_INLINE float reduce_max(F32 a) {
  const __m256 b = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
  const __m128 c = _mm_max_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
  const __m128 d = _mm_max_ps(c, _mm_movehl_ps(c, c));
  return _mm_cvtss_f32(_mm_max_ss(d, _mm_movehdup_ps(d)));
}
static SERVAL_INLINE bool any_not_finite(F32 a, F32 b) {
  constexpr int kKinds = 0x01 | 0x08 | 0x10 | 0x80;  // quiet NaN, +inf, -inf, signalling NaN
  return (_mm512_fpclass_ps_mask(a, kKinds) | _mm512_fpclass_ps_mask(b, kKinds)) != 0;
}
static SERVAL_INLINE float sqrt_f32(float x) { return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x))); }

// ---- 16-bit floats
static SERVAL_INLINE F32 load_f16(const void* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
}
static SERVAL_INLINE void store_f16(uint16_t* p, F32 v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
static SERVAL_INLINE F32 load_bf16(const void* p) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(
      _mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(p))), 16));
}
// The first and the second of 16 pairs.
static SERVAL_INLINE F32 load_bf16_even(const void* p) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16));
}
static SERVAL_INLINE F32 load_bf16_odd(const void* p) {
  return _mm512_castsi512_ps(
      _mm512_and_si512(_mm512_loadu_si512(p), _mm512_set1_epi32(static_cast<int>(0xFFFF0000U))));
}

// ---- 16 integers
static SERVAL_INLINE I32 zero_i32() { return _mm512_setzero_si512(); }
static SERVAL_INLINE I32 set1_i32(int x) { return _mm512_set1_epi32(x); }
static SERVAL_INLINE I32 broadcast_i32(const uint8_t* p) {
  return _mm512_set1_epi32(*reinterpret_cast<const int32_t*>(p));
}
static SERVAL_INLINE I32 load_i8_i32(const uint8_t* p) {
  return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
static SERVAL_INLINE I32 add_i32(I32 a, I32 b) { return _mm512_add_epi32(a, b); }
static SERVAL_INLINE I32 sub_i32(I32 a, I32 b) { return _mm512_sub_epi32(a, b); }
static SERVAL_INLINE F32 to_f32(I32 a) { return _mm512_cvtepi32_ps(a); }
static SERVAL_INLINE I32 to_i32(F32 a) { return _mm512_cvtps_epi32(a); }
// 2^n for n = -126 .. 127
static SERVAL_INLINE F32 power_of_two(I32 n) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(n, _mm512_set1_epi32(127)), 23));
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
static SERVAL_INLINE I32 widen(U8x16 v) { return _mm512_cvtepu8_epi32(v); }

// ---- 16 pairs of 16-bit integers
static SERVAL_INLINE I16 load_i8_pairs(const uint8_t* p) {
  return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
// sum[i] += x[2i] y[0] + x[2i + 1] y[1]
static SERVAL_INLINE void dot_pairs_broadcast(I32& sum, I16 x, const int16_t* y) {
  asm("vpdpwssd %2%{1to16%}, %1, %0"
      : "+v"(sum)
      : "v"(x), "m"(*reinterpret_cast<const int32_t*>(y)));
}
static SERVAL_INLINE void store_i16(int16_t* p, I32 v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtsepi32_epi16(v));
}

// Nothing, `kTimes` times, where one row is all: a window of 320 instructions would otherwise hold
// loads of 1.4 KB and more, which take the places of prefetches; the processor waits for memory
// anyway. "memory": compilers move no load across it (docs/kernels.md).
template <int kTimes>
static SERVAL_INLINE void pace() {
  asm volatile(".rept %c0\n\tnop\n\t.endr" : : "i"(kTimes) : "memory");
}

// ---- lines of 64 bytes
// For one row in halves, which never cross a cache line as whole lines may, and do not run so far
// ahead that they take the places of prefetches (docs/kernels.md). In assembly, as compilers make
// one load of both.
template <int kRows = kTileTokens>
static SERVAL_INLINE U8 load_line(const uint8_t* p) {
  if constexpr (kRows > 1) return _mm512_loadu_si512(p);
  const __m512i low =
      _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  __m512i both;
  asm("vinserti64x4 $1, %2, %1, %0"
      : "=v"(both)
      : "v"(low), "m"(*reinterpret_cast<const __m256i_u*>(p + 32)));
  return both;
}
static SERVAL_INLINE void store_line(uint8_t* p, U8 v) { _mm512_storeu_si512(p, v); }
static SERVAL_INLINE U8 and_line(U8 v, int mask) {
  return _mm512_and_si512(v, _mm512_set1_epi8(static_cast<char>(mask)));
}
static SERVAL_INLINE U8 or_line(U8 a, U8 b) { return _mm512_or_si512(a, b); }
// Shifts cross byte borders; callers mask.
template <int kBits>
static SERVAL_INLINE U8 srl_line(U8 v) {
  return _mm512_srli_epi16(v, kBits);
}
template <int kBits>
static SERVAL_INLINE U8 sll_line(U8 v) {
  return _mm512_slli_epi16(v, kBits);
}
static SERVAL_INLINE U8 lookup_line(const uint8_t* table, U8 index) {
  return _mm512_shuffle_epi8(
      _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(table))), index);
}

// ---- dot products of bytes; every byte is taken as it is
static constexpr int dot_bias(int) { return 0; }
static constexpr int dot_most(int) { return 255; }

template <int kMost>
struct DotWeights {
  U8 line;
  DotWeights() = default;
  SERVAL_INLINE explicit DotWeights(U8 bytes) : line(bytes) {}
};

template <int kMost, int kLines>
struct DotSum {
  I32 sum;
  DotSum() = default;
  SERVAL_INLINE explicit DotSum(const uint8_t* first)
      : sum(first == nullptr ? zero_i32() : broadcast_i32(first)) {}
  SERVAL_INLINE void add(int, const DotWeights<kMost>& w, const int8_t* a) {
    asm("vpdpbusd %2%{1to16%}, %1, %0"
        : "+v"(sum)
        : "v"(w.line), "m"(*reinterpret_cast<const int32_t*>(a)));
  }
  SERVAL_INLINE void add(int, const DotWeights<kMost>& w, I32 a) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(w.line), "v"(a));
  }
  SERVAL_INLINE I32 total() const { return sum; }
};

// The first of the 16 lanes that equals x; 16: none.
static SERVAL_INLINE int first_equal(F32 v, float x) {
  const unsigned mask = _mm512_cmp_ps_mask(v, _mm512_set1_ps(x), _CMP_EQ_OQ);
  return __builtin_ctz(mask | 0x10000U);
}
static SERVAL_INLINE int round_to_int(float x) { return _mm_cvtss_si32(_mm_set_ss(x)); }

// Rounds x * inverse to int8 (nearest even) and returns the sum.
static SERVAL_INLINE int quantize_16(F32 x, float inverse, int8_t* out) {
  const __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(x, _mm512_set1_ps(inverse)));
  _mm_store_si128(reinterpret_cast<__m128i*>(out), _mm512_cvtsepi32_epi8(q));
  return _mm512_reduce_add_epi32(q);
}
// Both halves of a chunk; the sums of their bytes by one dot product with ones.
static SERVAL_INLINE void quantize_32(F32 a, F32 b, float inverse, int8_t* out, int* sums) {
  const __m512 all = _mm512_set1_ps(inverse);
  const __m128i low = _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(a, all)));
  const __m128i high = _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(b, all)));
  const __m256i bytes = _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
  _mm256_store_si256(reinterpret_cast<__m256i*>(out), bytes);
  __m256i s = _mm256_dpbusd_epi32(_mm256_setzero_si256(), _mm256_set1_epi8(1), bytes);
  s = _mm256_add_epi32(s, _mm256_shuffle_epi32(s, 0x4E));
  s = _mm256_add_epi32(s, _mm256_shuffle_epi32(s, 0xB1));
  sums[0] = _mm_cvtsi128_si32(_mm256_castsi256_si128(s));
  sums[1] = _mm_cvtsi128_si32(_mm256_extracti128_si256(s, 1));
}

// The two largest of 32 values that are not negative.
static SERVAL_INLINE void top_two(F32 x, F32 y, float* top) {
  const __m512 first = _mm512_max_ps(x, y);
  const __m512 second = _mm512_min_ps(x, y);
  const __m256 a = _mm512_castps512_ps256(first);
  const __m256 b = _mm512_extractf32x8_ps(first, 1);
  const __m256 c = _mm256_max_ps(a, b);
  const __m256 d = _mm256_max_ps(
      _mm256_min_ps(a, b),
      _mm256_max_ps(_mm512_castps512_ps256(second), _mm512_extractf32x8_ps(second, 1)));
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

static SERVAL_INLINE uint16_t f16_bits(float x) {
  return static_cast<uint16_t>(
      _mm_cvtsi128_si32(_mm_cvtps_ph(_mm_set_ss(x), _MM_FROUND_TO_NEAREST_INT)));
}
static SERVAL_INLINE float f16_value(const uint8_t* p) {
  return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(*reinterpret_cast<const uint16_t*>(p))));
}
