// Weight formats as seen by the multiplication kernels.
//
// A panel holds 16 output rows; each of its blocks covers 32 or 256 k. A block is decoded chunk by
// chunk (32 k) into eight lines of unsigned bytes: line j holds k = 4j .. 4j+3 of the 16 rows, row
// r in bytes 4r .. 4r+3. The weight is scale[row] * (byte - kZero) + min[row]; no byte is more than
// kMost, whatever the file holds. Within a chunk a
// format stores its bits so that every line needs at most one shift per source:
//   nibbles  4 lines: line j has the low 4 bits of k = 4j+b in its low and of k = 16+4j+b in its
//   high half bits     1 line:  bit g of byte (r, b) belongs to k = 4g + b pairs    2 lines: bits
//   2g' of byte (r, b) of line p belong to k = 4(4p+g') + b
// panels/pack.cpp writes exactly these layouts; every one has the size of 16 GGUF blocks.

// Lines are decoded for products with `kRows` rows at once; only how they are loaded depends on it.

// ---- pieces

template <int kRows>
static SERVAL_INLINE U8 nibble_line(const uint8_t* p, int j) {
  return j < 4 ? and_line(load_line<kRows>(p + 64 * j), 0x0F)
               : and_line(srl_line<4>(load_line<kRows>(p + 64 * (j - 4))), 0x0F);
}

// Bit g of every byte moved to bit 4.
template <int kRows>
static SERVAL_INLINE U8 bit_line(const uint8_t* p, int g) {
  const U8 v = load_line<kRows>(p);
  switch (g) {
    case 0:
      return and_line(sll_line<4>(v), 0x10);
    case 1:
      return and_line(sll_line<3>(v), 0x10);
    case 2:
      return and_line(sll_line<2>(v), 0x10);
    case 3:
      return and_line(sll_line<1>(v), 0x10);
    case 4:
      return and_line(v, 0x10);
    case 5:
      return and_line(srl_line<1>(v), 0x10);
    case 6:
      return and_line(srl_line<2>(v), 0x10);
    default:
      return and_line(srl_line<3>(v), 0x10);
  }
}

// The two bits of k group j as values 0..3.
template <int kRows>
static SERVAL_INLINE U8 pair_line(const uint8_t* p, int j) {
  const U8 v = load_line<kRows>(p + 64 * (j / 4));
  switch (j % 4) {
    case 0:
      return and_line(v, 3);
    case 1:
      return and_line(srl_line<2>(v), 3);
    case 2:
      return and_line(srl_line<4>(v), 3);
    default:
      return and_line(srl_line<6>(v), 3);
  }
}

// The same bits moved to bits 4 and 5.
template <int kRows>
static SERVAL_INLINE U8 high_pair_line(const uint8_t* p, int j) {
  const U8 v = load_line<kRows>(p + 64 * (j / 4));
  switch (j % 4) {
    case 0:
      return and_line(sll_line<4>(v), 0x30);
    case 1:
      return and_line(sll_line<2>(v), 0x30);
    case 2:
      return and_line(v, 0x30);
    default:
      return and_line(srl_line<2>(v), 0x30);
  }
}

// ---- formats of 32

struct Q4_0 {
  static constexpr int kIndex = 3, kChunks = 1, kBlockBytes = 288, kSubs = 1;
  static constexpr int kZero = 8, kMost = 15;
  static constexpr bool kMin = false;
  template <int kRows>
  static SERVAL_INLINE U8 line(const uint8_t* w, int, int j) {
    return nibble_line<kRows>(w + 32, j);
  }
  static SERVAL_INLINE F32 scale(const uint8_t* w, int, int) { return load_f16(w); }
  static SERVAL_INLINE F32 min(const uint8_t*, int, int) { return zero_f32(); }
};

struct Q4_1 {
  static constexpr int kIndex = 4, kChunks = 1, kBlockBytes = 320, kSubs = 1;
  static constexpr int kZero = 0, kMost = 15;
  static constexpr bool kMin = true;
  template <int kRows>
  static SERVAL_INLINE U8 line(const uint8_t* w, int, int j) {
    return nibble_line<kRows>(w + 64, j);
  }
  static SERVAL_INLINE F32 scale(const uint8_t* w, int, int) { return load_f16(w); }
  static SERVAL_INLINE F32 min(const uint8_t* w, int, int) { return load_f16(w + 32); }
};

struct Q5_0 {
  static constexpr int kIndex = 5, kChunks = 1, kBlockBytes = 352, kSubs = 1;
  static constexpr int kZero = 16, kMost = 31;
  static constexpr bool kMin = false;
  template <int kRows>
  static SERVAL_INLINE U8 line(const uint8_t* w, int, int j) {
    return or_line(nibble_line<kRows>(w + 96, j), bit_line<kRows>(w + 32, j));
  }
  static SERVAL_INLINE F32 scale(const uint8_t* w, int, int) { return load_f16(w); }
  static SERVAL_INLINE F32 min(const uint8_t*, int, int) { return zero_f32(); }
};

struct Q5_1 {
  static constexpr int kIndex = 6, kChunks = 1, kBlockBytes = 384, kSubs = 1;
  static constexpr int kZero = 0, kMost = 31;
  static constexpr bool kMin = true;
  template <int kRows>
  static SERVAL_INLINE U8 line(const uint8_t* w, int, int j) {
    return or_line(nibble_line<kRows>(w + 128, j), bit_line<kRows>(w + 64, j));
  }
  static SERVAL_INLINE F32 scale(const uint8_t* w, int, int) { return load_f16(w); }
  static SERVAL_INLINE F32 min(const uint8_t* w, int, int) { return load_f16(w + 32); }
};

// Stored as q + 128.
struct Q8_0 {
  static constexpr int kIndex = 7, kChunks = 1, kBlockBytes = 544, kSubs = 1;
  static constexpr int kZero = 128, kMost = 255;
  static constexpr bool kMin = false;
  template <int kRows>
  static SERVAL_INLINE U8 line(const uint8_t* w, int, int j) {
    return load_line<kRows>(w + 32 + 64 * j);
  }
  static SERVAL_INLINE F32 scale(const uint8_t* w, int, int) { return load_f16(w); }
  static SERVAL_INLINE F32 min(const uint8_t*, int, int) { return zero_f32(); }
};

// T[q] + 128; T = -127 -104 -83 -65 -49 -35 -22 -10 1 13 25 38 53 69 89 113.
alignas(16) static const uint8_t kIq4Codes[16] = {1,   24,  45,  63,  79,  93,  106, 118,
                                                  129, 141, 153, 166, 181, 197, 217, 241};

struct Iq4Nl {
  static constexpr int kIndex = 13, kChunks = 1, kBlockBytes = 288, kSubs = 1;
  static constexpr int kZero = 128, kMost = 241;
  static constexpr bool kMin = false;
  template <int kRows>
  static SERVAL_INLINE U8 line(const uint8_t* w, int, int j) {
    return lookup_line(kIq4Codes, nibble_line<kRows>(w + 32, j));
  }
  static SERVAL_INLINE F32 scale(const uint8_t* w, int, int) { return load_f16(w); }
  static SERVAL_INLINE F32 min(const uint8_t*, int, int) { return zero_f32(); }
};

// Twice the E2M1 value, plus 12.
alignas(16) static const uint8_t kFp4Codes[16] = {12, 13, 14, 15, 16, 18, 20, 24,
                                                  12, 11, 10, 9,  8,  6,  4,  0};

struct Mxfp4 {
  static constexpr int kIndex = 15, kChunks = 1, kBlockBytes = 272, kSubs = 1;
  static constexpr int kZero = 12, kMost = 24;
  static constexpr bool kMin = false;
  template <int kRows>
  static SERVAL_INLINE U8 line(const uint8_t* w, int, int j) {
    return lookup_line(kFp4Codes, nibble_line<kRows>(w + 16, j));
  }
  // 2^(e - 128) as the product of two normal powers of two: exact for e = 0 .. 255.
  static SERVAL_INLINE F32 scale(const uint8_t* w, int, int) {
    const U8x16 e = load_16(w);
    const I32 half = widen(and_16(srl_16(e, 1), 0x7F));
    const I32 rest = sub_i32(widen(e), half);
    return mul(power_of_two(add_i32(half, set1_i32(-64))),
               power_of_two(add_i32(rest, set1_i32(-64))));
  }
  static SERVAL_INLINE F32 min(const uint8_t*, int, int) { return zero_f32(); }
};

// ---- formats of 256

// Bits 0 - 3 of `low` and bits 4 - 5 of `high`.
static SERVAL_INLINE U8x16 six_bits(U8x16 low, U8x16 high) {
  return or_16(and_16(low, 0x0F), and_16(high, 0x30));
}

// Six-bit scales and mins of eight sub-blocks: 8 x 16 bytes (scale low 4 bits, min low 4 bits
// above), then 4 x 16 bytes with the high bits of sub-blocks 2i (scale, min) and 2i+1 (scale, min).
static SERVAL_INLINE F32 k_scale(const uint8_t* p, int c) {
  const U8x16 high = srl_16(load_16(p + 128 + 16 * (c / 2)), 4 * (c & 1));
  return to_f32(widen(six_bits(load_16(p + 16 * c), sll_16(high, 4))));
}
static SERVAL_INLINE F32 k_min(const uint8_t* p, int c) {
  const U8x16 high = srl_16(load_16(p + 128 + 16 * (c / 2)), 4 * (c & 1));
  return to_f32(widen(six_bits(srl_16(load_16(p + 16 * c), 4), sll_16(high, 2))));
}

struct Q4_K {
  static constexpr int kIndex = 10, kChunks = 8, kBlockBytes = 2304, kSubs = 1;
  static constexpr int kZero = 0, kMost = 15;
  static constexpr bool kMin = true;
  template <int kRows>
  static SERVAL_INLINE U8 line(const uint8_t* w, int c, int j) {
    return nibble_line<kRows>(w + 256 + 256 * c, j);
  }
  static SERVAL_INLINE F32 scale(const uint8_t* w, int c, int) {
    return mul(load_f16(w), k_scale(w + 64, c));
  }
  static SERVAL_INLINE F32 min(const uint8_t* w, int c, int) {
    return mul(negate(load_f16(w + 32)), k_min(w + 64, c));
  }
};

struct Q5_K {
  static constexpr int kIndex = 11, kChunks = 8, kBlockBytes = 2816, kSubs = 1;
  static constexpr int kZero = 0, kMost = 31;
  static constexpr bool kMin = true;
  template <int kRows>
  static SERVAL_INLINE U8 line(const uint8_t* w, int c, int j) {
    const uint8_t* p = w + 256 + 320 * c;
    return or_line(nibble_line<kRows>(p + 64, j), bit_line<kRows>(p, j));
  }
  static SERVAL_INLINE F32 scale(const uint8_t* w, int c, int) {
    return mul(load_f16(w), k_scale(w + 64, c));
  }
  static SERVAL_INLINE F32 min(const uint8_t* w, int c, int) {
    return mul(negate(load_f16(w + 32)), k_min(w + 64, c));
  }
};

struct Q6_K {
  static constexpr int kIndex = 12, kChunks = 8, kBlockBytes = 3360, kSubs = 2;
  static constexpr int kZero = 32, kMost = 63;
  static constexpr bool kMin = false;
  template <int kRows>
  static SERVAL_INLINE U8 line(const uint8_t* w, int c, int j) {
    const uint8_t* p = w + 288 + 384 * c;
    return or_line(nibble_line<kRows>(p + 128, j), high_pair_line<kRows>(p, j));
  }
  static SERVAL_INLINE F32 scale(const uint8_t* w, int c, int sub) {
    return mul(load_f16(w), to_f32(load_i8_i32(w + 32 + 16 * (2 * c + sub))));
  }
  static SERVAL_INLINE F32 min(const uint8_t*, int, int) { return zero_f32(); }
};

static SERVAL_INLINE F32 less_32(U8x16 scale) {
  return to_f32(add_i32(widen(scale), set1_i32(-32)));
}

// Scales: 16 x 16 bytes, scale in the low, min in the high half.
struct Q2_K {
  static constexpr int kIndex = 8, kChunks = 8, kBlockBytes = 1344, kSubs = 2;
  static constexpr int kZero = 0, kMost = 3;
  static constexpr bool kMin = true;
  template <int kRows>
  static SERVAL_INLINE U8 line(const uint8_t* w, int c, int j) {
    return pair_line<kRows>(w + 320 + 128 * c, j);
  }
  static SERVAL_INLINE F32 scale(const uint8_t* w, int c, int sub) {
    return mul(load_f16(w), to_f32(widen(and_16(load_16(w + 64 + 16 * (2 * c + sub)), 15))));
  }
  static SERVAL_INLINE F32 min(const uint8_t* w, int c, int sub) {
    return mul(negate(load_f16(w + 32)),
               to_f32(widen(and_16(srl_16(load_16(w + 64 + 16 * (2 * c + sub)), 4), 15))));
  }
};

// Six-bit scales of sixteen sub-blocks: 8 x 16 bytes (sub-block 2c low, 2c+1 high half), then
// 4 x 16 bytes with the high two bits of sub-blocks 4i .. 4i+3.
struct Q3_K {
  static constexpr int kIndex = 9, kChunks = 8, kBlockBytes = 1760, kSubs = 2;
  static constexpr int kZero = 4, kMost = 7;
  static constexpr bool kMin = false;
  template <int kRows>
  static SERVAL_INLINE U8 line(const uint8_t* w, int c, int j) {
    const uint8_t* p = w + 224 + 192 * c;
    return or_line(pair_line<kRows>(p + 64, j), and_line(srl_line<2>(bit_line<kRows>(p, j)), 4));
  }
  static SERVAL_INLINE F32 scale(const uint8_t* w, int c, int sub) {
    const U8x16 low = srl_16(load_16(w + 32 + 16 * c), 4 * sub);
    const U8x16 high = srl_16(load_16(w + 160 + 16 * (c / 2)), 4 * (c & 1) + 2 * sub);
    return mul(load_f16(w), less_32(six_bits(low, sll_16(high, 4))));
  }
  static SERVAL_INLINE F32 min(const uint8_t*, int, int) { return zero_f32(); }
};

// Scales: 2 x 16 bytes of high bits (sub-blocks 4i .. 4i+3), 4 x 16 bytes of low halves (2i, 2i+1).
struct Iq4Xs {
  static constexpr int kIndex = 14, kChunks = 8, kBlockBytes = 2176, kSubs = 1;
  static constexpr int kZero = 128, kMost = 241;
  static constexpr bool kMin = false;
  template <int kRows>
  static SERVAL_INLINE U8 line(const uint8_t* w, int c, int j) {
    return lookup_line(kIq4Codes, nibble_line<kRows>(w + 128 + 256 * c, j));
  }
  static SERVAL_INLINE F32 scale(const uint8_t* w, int c, int) {
    const U8x16 low = srl_16(load_16(w + 64 + 16 * (c / 2)), 4 * (c & 1));
    const U8x16 high = srl_16(load_16(w + 32 + 16 * (c / 4)), 2 * (c & 3));
    return mul(load_f16(w), less_32(six_bits(low, sll_16(high, 4))));
  }
  static SERVAL_INLINE F32 min(const uint8_t*, int, int) { return zero_f32(); }
};

// What the plane of activation sums has to correct; some dot products take large bytes with a bias.
template <class Format>
static constexpr int effective_zero() {
  return Format::kZero - dot_bias(Format::kMost);
}

// ---- the unpacked panel: lines, then scales and mins as float, per chunk

template <int kSubsOf, bool kMinOf, int kMostOf, bool kZeroOf>
struct Unpacked {
  static constexpr int kChunks = 1, kSubs = kSubsOf, kMost = kMostOf;
  static constexpr bool kMin = kMinOf;
  static constexpr int kZero = (kZeroOf ? 1 : 0) + dot_bias(kMost);  // only "is there one"
  static constexpr int kBlockBytes = 512 + 64 * kSubs * (kMin ? 2 : 1);
  template <int kRows>
  static SERVAL_INLINE U8 line(const uint8_t* w, int, int j) {
    return load_line<kRows>(w + 64 * j);
  }
  static SERVAL_INLINE F32 scale(const uint8_t* w, int, int sub) {
    return load_f32(reinterpret_cast<const float*>(w + 512 + 64 * sub));
  }
  static SERVAL_INLINE F32 min(const uint8_t* w, int, int sub) {
    return load_f32(reinterpret_cast<const float*>(w + 512 + 64 * (kSubs + sub)));
  }
};
template <class Format>
using UnpackedOf =
    Unpacked<Format::kSubs, Format::kMin, dot_most(Format::kMost), effective_zero<Format>() != 0>;
