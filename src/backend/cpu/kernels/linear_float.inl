// One panel of float weights, or two side by side, times all rows of a step.
//
// A line is what one step along k reads of a panel: one k of 16 rows, or with bfloat16 dot products
// a pair of k. The products of even and of odd lines are summed apart, each in ascending k:
//   even = w[0] x[0], then even += w[2] x[2], ...          odd = w[1] x[1], then odd += w[3] x[3]
//   ...
// and k is cut into segments of kFloatSegment, at fixed places: out = even + odd of the first
// segment, to which the other segments' are added in ascending order. Every output is computed
// exactly so, whatever the number of rows, so a row's result does not depend on the others.
//
// With bfloat16 dot products, activations are rounded to bfloat16.
//
// Two chains, because the latency of an addition (4 - 6 cycles) times one line per addition would
// be slower than memory when there is one row. Segments, because the lines of two panels should
// stay in the first or second cache while all tiles of rows pass them, unpacked where
// unpacking costs (F16).
//
// Register plan with 32 registers: 2 panels x 6 rows x 2 chains = 24 sums, 2 lines, 1 broadcast;
// per line 2 + 6 loads for 12 products. One row is limited by memory, many by the multipliers.

// ---- formats: how lines are read, and what a line is multiplied with
//   X                     an activation as the kernel broadcasts it
//   even, odd             the two lines of a step of kStepBytes
//   last                  the even line, where the odd one is missing
//   value                 one weight

static SERVAL_INLINE float float_from_bits(uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, 4);
  return value;
}

// Formats whose lines are 16 floats: one fused multiply-add for each activation.
struct FloatLines {
  using Line = F32;
  using X = float;
  static constexpr int kLineK = 1;
  static SERVAL_INLINE const X* activations(const Activations& a, int first) {
    return a.raw + static_cast<size_t>(first) * static_cast<size_t>(a.layout.k);
  }
  static SERVAL_INLINE void multiply(F32& sum, const F32& line, const X* x) {
    sum = fma_broadcast(line, x, sum);
  }
};

struct FloatF32 : FloatLines {
  static constexpr int kStepBytes = 128;
  static constexpr bool kUnpack = false;
  static SERVAL_INLINE F32 even(const uint8_t* w) {
    return load_f32(reinterpret_cast<const float*>(w));
  }
  static SERVAL_INLINE F32 odd(const uint8_t* w) { return even(w + 64); }
  static SERVAL_INLINE F32 last(const uint8_t* w) { return even(w); }
  static SERVAL_INLINE float value(const uint8_t* w, int, int i, int row) {
    return reinterpret_cast<const float*>(w)[16 * static_cast<ptrdiff_t>(i) + row];
  }
};

struct FloatF16 : FloatLines {
  static constexpr int kStepBytes = 64;
  static constexpr bool kUnpack = true;
  static SERVAL_INLINE F32 even(const uint8_t* w) { return load_f16(w); }
  static SERVAL_INLINE F32 odd(const uint8_t* w) { return load_f16(w + 32); }
  static SERVAL_INLINE F32 last(const uint8_t* w) { return load_f16(w); }
  static SERVAL_INLINE float value(const uint8_t* w, int, int i, int row) {
    return f16_value(w + 32 * static_cast<ptrdiff_t>(i) + 2 * row);
  }
};

// Pairs of k beside each other, 16 rows; the last of an odd number of k alone, 16 halves.
struct Bf16Pairs {
  static SERVAL_INLINE float value(const uint8_t* w, int k, int i, int row) {
    const bool alone = i == k - 1 && i % 2 == 0;
    uint16_t bits;
    __builtin_memcpy(
        &bits,
        w + 32 * static_cast<ptrdiff_t>(i - i % 2) + (alone ? 2 * row : 4 * row + 2 * (i % 2)), 2);
    return float_from_bits(static_cast<uint32_t>(bits) << 16);
  }
};

#if defined(SERVAL_BF16_DOTS)
// Activations rounded to bfloat16 (round_pairs): a line is a pair of k, one dot product of two for
// each pair of activations. The instruction adds its products in an order of its own, takes
// denormals for zero, and does not round between multiplying and adding.
struct FloatBf16 : Bf16Pairs {
  using Line = U8;
  using X = uint32_t;
  static constexpr int kLineK = 2, kStepBytes = 128;
  static constexpr bool kUnpack = false;
  static SERVAL_INLINE const X* activations(const Activations& a, int first) {
    return a.pairs + static_cast<size_t>(first) * static_cast<size_t>((a.layout.k + 1) / 2);
  }
  static SERVAL_INLINE void multiply(F32& sum, const U8& line, const X* x) {
    sum = dot_bf16_broadcast(line, x, sum);
  }
  static SERVAL_INLINE U8 even(const uint8_t* w) { return load_line(w); }
  static SERVAL_INLINE U8 odd(const uint8_t* w) { return load_line(w + 64); }
  static SERVAL_INLINE U8 last(const uint8_t* w) { return load_line(w); }
  static SERVAL_INLINE U8 alone(const uint8_t* w) { return load_u16_line(w); }
};
#else
struct FloatBf16 : FloatLines, Bf16Pairs {
  static constexpr int kStepBytes = 64;
  static constexpr bool kUnpack = true;
  static SERVAL_INLINE F32 even(const uint8_t* w) { return load_bf16_even(w); }
  static SERVAL_INLINE F32 odd(const uint8_t* w) { return load_bf16_odd(w); }
  static SERVAL_INLINE F32 last(const uint8_t* w) { return load_bf16(w); }
};
#endif

// ---- products

// Memory to fetch while multiplying, as the processor itself does not look so far: `bytes` for
// every step and panel; the panels are `stride` apart. 0 bytes: nothing. `one_row`: as in Ahead.
struct FloatAhead {
  const uint8_t* at;
  ptrdiff_t stride;
  int bytes;
  bool one_row = false;
};

// `k` of one panel, or of two `stride` bytes apart; the results of the second are `out_stride`
// floats after those of the first. `first`: they are stored, else added to what is there.
struct FloatPanels {
  const uint8_t* w;
  ptrdiff_t stride;
  int k;
  bool first;
  float* out;
  int64_t out_stride;
  FloatAhead ahead;
};

template <class Format, int kPanels, int kTokens>
struct FloatSums {
  F32 even[kTokens][kPanels], odd[kTokens][kPanels];
  SERVAL_INLINE FloatSums() {
    SERVAL_UNROLL
    for (int t = 0; t < kTokens; ++t) {
      SERVAL_UNROLL
      for (int p = 0; p < kPanels; ++p) even[t][p] = odd[t][p] = zero_f32();
    }
  }
  static SERVAL_INLINE void add_line(F32 (&sum)[kTokens][kPanels],
                                     const typename Format::Line (&line)[kPanels],
                                     const typename Format::X* x) {
    SERVAL_UNROLL
    for (int t = 0; t < kTokens; ++t) {
      SERVAL_UNROLL
      for (int p = 0; p < kPanels; ++p) Format::multiply(sum[t][p], line[p], x + t);
    }
  }
};

template <class Format, int kPanels, int kTokens, int kStride>
static SERVAL_NOINLINE void multiply_float_tile(const FloatPanels to, const typename Format::X* x,
                                                int run_stride) {
  using Sums = FloatSums<Format, kPanels, kTokens>;
  const int stride = kStride != 0 ? kStride : run_stride;
  const uint8_t* w = to.w;
  FloatAhead ahead = to.ahead;
  const int lines = to.k / Format::kLineK;
  Sums sums;
  typename Format::Line line[kPanels];
  for (int i = 0; i < lines / 2; ++i, w += Format::kStepBytes, x += 2 * stride) {
    SERVAL_UNROLL
    for (int p = 0; p < kPanels; ++p) line[p] = Format::even(w + p * to.stride);
    Sums::add_line(sums.even, line, x);
    SERVAL_UNROLL
    for (int p = 0; p < kPanels; ++p) line[p] = Format::odd(w + p * to.stride);
    Sums::add_line(sums.odd, line, x + stride);
    if (kTokens == 1 && ahead.one_row) pace<12>();
    for (int j = 0; j < ahead.bytes; j += 64) {
      SERVAL_UNROLL
      for (int p = 0; p < kPanels; ++p) __builtin_prefetch(ahead.at + p * ahead.stride + j);
    }
    ahead.at += ahead.bytes;
  }
  if (lines % 2 != 0) {
    SERVAL_UNROLL
    for (int p = 0; p < kPanels; ++p) line[p] = Format::last(w + p * to.stride);
    Sums::add_line(sums.even, line, x);
    w += Format::kStepBytes / 2;
    x += stride;
  }
  if constexpr (Format::kLineK == 2) {
    if (to.k % 2 != 0) {
      SERVAL_UNROLL
      for (int p = 0; p < kPanels; ++p) line[p] = Format::alone(w + p * to.stride);
      Sums::add_line(sums.odd, line, x);
    }
  }
  SERVAL_UNROLL
  for (int t = 0; t < kTokens; ++t) {
    SERVAL_UNROLL
    for (int p = 0; p < kPanels; ++p) {
      float* out = to.out + p * to.out_stride + 16 * t;
      const F32 sum = add(sums.even[t][p], sums.odd[t][p]);
      store_f32(out, to.first ? sum : add(load_f32(out), sum));
    }
  }
}

static constexpr int kTwoPanelTokens = 6;  // more sums than registers otherwise

template <class Format, int kPanels>
struct FloatTileStep {
  FloatPanels to;
  const typename Format::X* x;
  int nr;
  template <int kTokens, int kStride>
  SERVAL_INLINE void run(int t) const {
    if constexpr (kPanels == 1 || kTokens <= kTwoPanelTokens) {
      FloatPanels part = to;
      part.out += 16 * t;
      if (t > 0) part.ahead.bytes = 0;
      multiply_float_tile<Format, kPanels, kTokens, kStride>(part, x + t, nr);
    }
  }
};

// All rows times the segment that begins at k = `at`; `next` is fetched during the last tile.
template <class Format, int kPanels>
static void multiply_float_segment(const PanelJob& job, FloatPanels to, int at, FloatAhead next) {
  const Activations& a = *job.activations;
  float* out = to.out;
  for (int first = 0; first < a.rows; first += a.tile) {
    const int nr = tile_rows(a, first);
    to.out = out + 16 * static_cast<ptrdiff_t>(first);
    to.ahead = first + nr < a.rows ? FloatAhead{nullptr, 0, 0} : next;
    const typename Format::X* x = Format::activations(a, first) + at / Format::kLineK * nr;
    for_token_groups(FloatTileStep<Format, kPanels>{to, x, nr}, nr);
  }
}

// `k` of a panel as F32 lines.
template <class Format>
static SERVAL_NOINLINE void unpack_float_panel(const uint8_t* w, int k, uint8_t* to) {
  float* out = reinterpret_cast<float*>(to);
  for (int i = 0; i < k / 2; ++i, w += Format::kStepBytes, out += 32) {
    store_f32(out, Format::even(w));
    store_f32(out + 16, Format::odd(w));
  }
  if (k % 2 != 0) store_f32(out, Format::last(w));
}

static constexpr int kFloatPrefetchDistance = 4096;

// What to fetch during the last tile of the segment at `w`. One tile alone runs beside its own
// stream: one row as fast as the processor's own prefetching, more rows need help. More tiles read
// the segment again from the caches, and the last of them fetches the next segment, or the first
// one of the next panels: which those are, the distance of the two tells.
template <class Format, int kPanels>
static SERVAL_INLINE FloatAhead float_ahead(const PanelJob& job, const uint8_t* w, bool last) {
  constexpr int kKBytes = Format::kStepBytes / (2 * Format::kLineK);
  const int rows = job.activations->rows;
  const ptrdiff_t between = kPanels == 2 ? job.second - job.panel : 0;
  if (rows <= job.activations->tile) {
    return {w + kFloatPrefetchDistance, between, rows > 2 ? Format::kStepBytes : 0, rows == 1};
  }
  const ptrdiff_t panel = ptrdiff_t{kKBytes} * job.activations->layout.k;
  const uint8_t* next = w + ptrdiff_t{kKBytes} * kFloatSegment;
  if (last) next = job.panel + (between == panel ? 2 : 1) * panel;
  return {next, between, Format::kStepBytes};
}

template <class Format, int kPanels, bool kUnpacked>
static void multiply_float_panels(const PanelJob& job) {
  constexpr int kKBytes = Format::kStepBytes / (2 * Format::kLineK);
  const int k = job.activations->layout.k;
  const int64_t out_stride = int64_t{16} * job.activations->rows;
  const ptrdiff_t between = kPanels == 2 ? job.second - job.panel : 0;
  for (int at = 0; at < k; at += kFloatSegment) {
    const int count = k - at < kFloatSegment ? k - at : kFloatSegment;
    const uint8_t* w = job.panel + ptrdiff_t{kKBytes} * at;
    FloatAhead next = float_ahead<Format, kPanels>(job, w, at + count >= k);
    FloatPanels to = {w, between, count, at == 0, job.out, out_stride, {}};
    if constexpr (kUnpacked) {
      to.w = job.scratch;
      to.stride = ptrdiff_t{64} * kFloatSegment;
      for (int p = 0; p < kPanels; ++p) {
        unpack_float_panel<Format>(w + p * between, count, job.scratch + p * to.stride);
      }
      multiply_float_segment<FloatF32, kPanels>(job, to, at, next);
    } else {
      multiply_float_segment<Format, kPanels>(job, to, at, next);
    }
  }
}

template <class Format>
static void multiply_float(const PanelJob& job) {
  const bool many = job.activations->rows > kFewRows;
  if constexpr (kGroupTokens >= kBulkTile && kBulkTile <= kTwoPanelTokens) {
    if (many && job.second != nullptr) {
      return multiply_float_panels<Format, 2, Format::kUnpack>(job);
    }
  }
  if (many) {
    multiply_float_panels<Format, 1, Format::kUnpack>(job);
  } else {
    multiply_float_panels<Format, 1, false>(job);
  }
  if (job.second != nullptr) multiply_float<Format>(second_of(job));
}

// ---- rows

template <class Format>
static void decode_float_row(const uint8_t* w, int k, int row, float* out) {
  for (int i = 0; i < k; ++i) out[i] = Format::value(w, k, i, row);
}

#if defined(SERVAL_BF16_DOTS)
// One row of activations into slot `t` of a tile of `nr`: pairs of k rounded to bfloat16,
// [k/2][nr].
static void round_pairs(const float* x, const ActivationLayout& layout, uint32_t* tile, int nr,
                        int t) {
  alignas(64) uint32_t pairs[16];
  uint32_t* to = tile + t;
  for (int i = 0; i < layout.k; i += 32, x += 32) {
    const int count = layout.k - i < 32 ? layout.k - i : 32;
    const int low = count < 16 ? count : 16;
    const F32 a = count == 32 ? load_f32(x) : load_some(x, low);
    const F32 b = count == 32 ? load_f32(x + 16) : load_some(x + low, count - low);
    store_bf16_pairs(pairs, a, b);
    for (int j = 0; j < (count + 1) / 2; ++j) to[static_cast<ptrdiff_t>(j) * nr] = pairs[j];
    to += static_cast<ptrdiff_t>(16) * nr;
  }
}
static constexpr auto kRoundPairs = round_pairs;
#else
static constexpr void (*kRoundPairs)(const float*, const ActivationLayout&, uint32_t*, int,
                                     int) = nullptr;
#endif
