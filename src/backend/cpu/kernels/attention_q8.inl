// Scores and values of q8 tiles: exact integer dot products of pairs of 16 bits.
//
// Float multiply-adds are what limits attention over f16; products of 16 bits are twice as fast,
// and K and V bytes need no more conversion than being widened. A query is rounded to 16 bits per
// 32 dimensions; a weight times its token's V scale to 15 bits of the largest V scale that the
// query sees in the tile and the 32 dimensions. Both are far finer than the bytes of K and V.
//   score  = sum over groups of 32 dimensions of float(int dot) * (K scale * query scale)
//   value += float(int dot over the tile's 32 tokens) * (largest V scale / 32767)
// Sums of 32 products of 15 and 7 bits fit 32 bits. What a query does not see has weight 0.
//
// K lies as pairs of dimensions [head_dim/2][32][2], V as pairs of tokens [16][head_dim][2], so a
// broadcast pair of the query or of the weights meets 16 tokens or 16 columns.

static constexpr float kSteps = 32767.0F;

// Per 32 dimensions: [16 pairs][kQueries] of two 16-bit integers, then kQueries float scales.
template <int kQueries>
static void pack_queries_q8(const AttentionJob& job, int first, float* out) {
  const F32 scale = set1(query_scale(job));
  alignas(64) int16_t words[32];
  for (int i = 0; i < kQueries; ++i) {
    const float* q = query_row(job, first + i);
    float* to = out + i;
    for (int d = 0; d < job.kv->head_dim; d += 32, to += 17 * kQueries) {
      const F32 a = mul(load_f32(q + d), scale);
      const F32 b = mul(load_f32(q + d + 16), scale);
      const bool finite = !any_not_finite(a, b);
      const float most = finite ? reduce_max(max(abs(a), abs(b))) : 0.0F;
      const F32 inverse = set1(most > 1e-30F ? kSteps / most : 0.0F);
      store_i16(words, to_i32(mul(finite ? a : zero_f32(), inverse)));
      store_i16(words + 16, to_i32(mul(finite ? b : zero_f32(), inverse)));
      for (int pair = 0; pair < 16; ++pair) {
        __builtin_memcpy(to + pair * kQueries, words + 2 * pair, 4);
      }
      to[16 * kQueries] = finite ? most / kSteps : __builtin_nanf("");
    }
  }
}

// As score_tile. Registers: 2 integer sums for each query, 2 of K, one broadcast; the float sums of
// the groups of dimensions lie in `scores`.
template <int kQueries, int kVectors>
static SERVAL_NOINLINE void score_tile_q8(const float* q, const uint8_t* k, int head_dim,
                                          const uint8_t* ahead, float* scores) {
  const uint8_t* scales = k + kKvTile * head_dim;
  const uint8_t* scales_ahead = ahead + kKvTile * head_dim;
  for (int group = 0; group < head_dim; group += 32, scales += 64, scales_ahead += 64) {
    I32 sum[kQueries][kVectors];
    SERVAL_UNROLL
    for (int i = 0; i < kQueries; ++i) {
      SERVAL_UNROLL
      for (int j = 0; j < kVectors; ++j) sum[i][j] = zero_i32();
    }
    prefetch(scales_ahead);
    for (int pair = 0; pair < 16; ++pair, k += 64, ahead += 64, q += kQueries) {
      I16 key[kVectors];
      SERVAL_UNROLL
      for (int j = 0; j < kVectors; ++j) key[j] = load_i8_pairs(k + 32 * j);
      prefetch(ahead);
      SERVAL_UNROLL
      for (int i = 0; i < kQueries; ++i) {
        const int16_t* query = reinterpret_cast<const int16_t*>(q + i);
        SERVAL_UNROLL
        for (int j = 0; j < kVectors; ++j) dot_pairs_broadcast(sum[i][j], key[j], query);
      }
    }
    SERVAL_UNROLL
    for (int j = 0; j < kVectors; ++j) {
      const F32 scale = load_f16(scales + 32 * j);
      SERVAL_UNROLL
      for (int i = 0; i < kQueries; ++i) {
        float* out = scores + kScoreStride * i + 16 * j;
        const F32 before = group == 0 ? zero_f32() : load_f32(out);
        store_f32(out, fma(to_f32(sum[i][j]), mul(scale, set1(q[i])), before));
      }
    }
    q += kQueries;
  }
}

// What 32 weights are multiplied with before they are rounded, and afterwards.
struct TileSteps {
  F32 before[2];
  float after;
};

static SERVAL_INLINE TileSteps tile_steps(const uint8_t* scales, uint32_t visible) {
  const F32 a = select_bits(visible & 0xFFFFU, load_f16(scales), zero_f32());
  const F32 b = select_bits(visible >> 16, load_f16(scales + 32), zero_f32());
  const float most = reduce_max(max(a, b));
  const F32 inverse = set1(most > 0.0F ? kSteps / most : 0.0F);
  // A scale that is not a number spoils the sum, as it must.
  return {{mul(a, inverse), mul(b, inverse)}, most / kSteps + 0.0F * reduce_add(add(a, b))};
}

// As add_values, for one tile; token 0 is the tile's first. Registers: 2 integer sums for each
// query, 2 of V, one broadcast.
template <int kQueries>
static SERVAL_NOINLINE void add_values_q8(const ValueRun& run) {
  alignas(64) int16_t weights[kQueries][kKvTile];
  const int head_dim = run.stride;
  const uint8_t* scales = run.v + kKvTile * head_dim;
  const uint8_t* scales_ahead = run.ahead + kKvTile * head_dim;
  for (int column = 0; column < head_dim; column += 32, scales += 64, scales_ahead += 64) {
    float after[kQueries];
    const TileSteps whole = tile_steps(scales, 0xFFFFFFFFU);
    prefetch(scales_ahead);
    for (int i = 0; i < kQueries; ++i) {
      const float* p = run.p + kScoreStride * i;
      const uint32_t seen = run.visible[i];
      F32 a = load_f32(p);
      F32 b = load_f32(p + 16);
      TileSteps steps = whole;
      if (seen != 0xFFFFFFFFU) {
        steps = tile_steps(scales, seen);
        a = select_bits(seen & 0xFFFFU, a, zero_f32());
        b = select_bits(seen >> 16, b, zero_f32());
      }
      store_i16(weights[i], to_i32(mul(a, steps.before[0])));
      store_i16(weights[i] + 16, to_i32(mul(b, steps.before[1])));
      after[i] = steps.after;
    }
    I32 sum[kQueries][2];
    SERVAL_UNROLL
    for (int i = 0; i < kQueries; ++i) sum[i][0] = sum[i][1] = zero_i32();
    const int first = run.first / 2;
    const int end = (run.end + 1) / 2;
    const uint8_t* v = run.v + 2 * (first * head_dim + column);
    const uint8_t* ahead = run.ahead + 2 * (first * head_dim + column);
    for (int pair = first; pair < end; ++pair, v += 2 * head_dim, ahead += 2 * head_dim) {
      const I16 value[2] = {load_i8_pairs(v), load_i8_pairs(v + 32)};
      prefetch(ahead);
      SERVAL_UNROLL
      for (int i = 0; i < kQueries; ++i) {
        dot_pairs_broadcast(sum[i][0], value[0], weights[i] + 2 * pair);
        dot_pairs_broadcast(sum[i][1], value[1], weights[i] + 2 * pair);
      }
    }
    SERVAL_UNROLL
    for (int i = 0; i < kQueries; ++i) {
      float* acc = run.acc + i * run.acc_stride + column;
      const F32 step = set1(after[i]);
      store_f32(acc, fma(to_f32(sum[i][0]), step, load_f32(acc)));
      store_f32(acc + 16, fma(to_f32(sum[i][1]), step, load_f32(acc + 16)));
    }
  }
}
