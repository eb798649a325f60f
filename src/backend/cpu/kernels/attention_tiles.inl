// Scores and values of tiles of the K/V cache: the inner loops of attention.inl, for one to eight
// queries and every source.

static constexpr int kQueryGroup = 8;
static constexpr int kScoreStride = kKvSegment + 16;  // rows fall on different lines of the cache
static constexpr float kLog2E = 1.44269504F;

// 2^x for x <= 0. 2^n by exponent bits times a degree-5 polynomial (minimax, relative error below
// 2e-7 with rounding) of the rest in [-1/2, 1/2]. Exactly 1 at 0; exactly 0 below -126.5; NaN stays
// NaN.
static SERVAL_INLINE F32 exp2_f32(F32 x) {
  const F32 clamped = max(set1(-127.0F), x);
  const F32 n = round_f32(clamped);
  const F32 r = sub(clamped, n);
  F32 p = set1(1.3264724392e-3F);
  p = fma(p, r, set1(9.6715132386e-3F));
  p = fma(p, r, set1(5.5507337563e-2F));
  p = fma(p, r, set1(2.4022242075e-1F));
  p = fma(p, r, set1(6.9314697759e-1F));
  p = fma(p, r, set1(1.0F));
  return mul(p, power_of_two(to_i32(n)));
}

// Into the second-level cache: the lines on their way to the first one are too few to keep the
// memory busy (measured: 10 against 20 GB/s of one core).
static SERVAL_INLINE void prefetch(const uint8_t* p) { __builtin_prefetch(p, 0, 2); }

static SERVAL_INLINE const float* query_row(const AttentionJob& job, int query) {
  return job.q + job.q_stride * (query / job.group) +
         static_cast<int64_t>(query % job.group) * job.kv->head_dim;
}

static SERVAL_INLINE float query_scale(const AttentionJob& job) {
  return job.softcap > 0.0F ? job.scale : job.scale * kLog2E;
}

// Queries [first, first + kQueries), scaled, as [head_dim][kQueries].
template <int kQueries>
static void pack_queries(const AttentionJob& job, int first, float* out) {
  const float scale = query_scale(job);
  for (int i = 0; i < kQueries; ++i) {
    const float* q = query_row(job, first + i);
    for (int d = 0; d < job.kv->head_dim; ++d) out[kQueries * d + i] = q[d] * scale;
  }
}

// ---- scores

// scores[query][32] = q k for one tile; q is packed [head_dim][kQueries]. Registers: 2 sums for
// each query, 2 of K, one broadcast. kVectors 1: only the first 16 tokens are wanted.
template <int kQueries, int kVectors, int kSource>
static SERVAL_NOINLINE void score_tile(const float* q, const uint8_t* k, int head_dim,
                                       const uint8_t* ahead, float* scores) {
  constexpr int kRow = kKvTile * element_bytes<kSource>();
  F32 sum[kQueries][kVectors];
  SERVAL_UNROLL
  for (int i = 0; i < kQueries; ++i) {
    SERVAL_UNROLL
    for (int j = 0; j < kVectors; ++j) sum[i][j] = zero_f32();
  }
  for (int d = 0; d < head_dim; ++d, k += kRow, ahead += kRow, q += kQueries) {
    F32 key[kVectors];
    SERVAL_UNROLL
    for (int j = 0; j < kVectors; ++j) key[j] = load_elements<kSource>(k + j * kRow / 2);
    if constexpr (kSource != kExpanded) {
      for (int b = 0; b < kRow; b += 64) prefetch(ahead + b);
    }
    SERVAL_UNROLL
    for (int i = 0; i < kQueries; ++i) {
      SERVAL_UNROLL
      for (int j = 0; j < kVectors; ++j) sum[i][j] = fma_broadcast(key[j], q + i, sum[i][j]);
    }
  }
  SERVAL_UNROLL
  for (int i = 0; i < kQueries; ++i) {
    SERVAL_UNROLL
    for (int j = 0; j < kVectors; ++j) store_f32(scores + kScoreStride * i + 16 * j, sum[i][j]);
  }
}

// ---- values

// acc[query][columns] += p[query][tokens] v[tokens][columns] for tokens [first, end).
struct ValueRun {
  const float* p;           // of token 0; queries kScoreStride apart
  const uint8_t* v;         // token 0
  const uint8_t* ahead;     // prefetched in parallel; not for kExpanded
  const uint32_t* visible;  // q8: bit t: query i sees token t
  int stride;               // elements between tokens
  int first, end, columns;  // columns: a multiple of 16
  float* acc;
  int acc_stride;
};

// Columns [column, column + 16 kVectors). Registers: kQueries x kVectors sums, kVectors values, one
// broadcast.
template <int kQueries, int kVectors, int kSource>
static SERVAL_INLINE void value_columns(const ValueRun& run, int column) {
  constexpr int kSize = element_bytes<kSource>();
  const int acc_stride = run.acc_stride;
  float* acc = run.acc + column;
  F32 sum[kQueries][kVectors];
  SERVAL_UNROLL
  for (int i = 0; i < kQueries; ++i) {
    SERVAL_UNROLL
    for (int j = 0; j < kVectors; ++j) sum[i][j] = load_f32(acc + i * acc_stride + 16 * j);
  }
  const float* p = run.p;
  const int step = kSize * run.stride;
  const uint8_t* v = run.v + step * run.first + kSize * column;
  const uint8_t* ahead = run.ahead + step * run.first + kSize * column;
  const int end = run.end;
  for (int t = run.first; t < end; ++t, v += step, ahead += step) {
    F32 value[kVectors];
    SERVAL_UNROLL
    for (int j = 0; j < kVectors; ++j) value[j] = load_elements<kSource>(v + 16 * kSize * j);
    if constexpr (kSource != kExpanded) {
      for (int b = 0; b < 16 * kSize * kVectors; b += 64) prefetch(ahead + b);
    }
    SERVAL_UNROLL
    for (int i = 0; i < kQueries; ++i) {
      SERVAL_UNROLL
      for (int j = 0; j < kVectors; ++j) {
        sum[i][j] = fma_broadcast(value[j], p + kScoreStride * i + t, sum[i][j]);
      }
    }
  }
  SERVAL_UNROLL
  for (int i = 0; i < kQueries; ++i) {
    SERVAL_UNROLL
    for (int j = 0; j < kVectors; ++j) store_f32(acc + i * acc_stride + 16 * j, sum[i][j]);
  }
}

template <int kQueries, int kSource>
static SERVAL_NOINLINE void add_values(const ValueRun& run) {
  int column = 0;
  if constexpr (kQueries < 4) {  // enough independent sums to hide the latency of the adders
    for (; column + 64 <= run.columns; column += 64) {
      value_columns<kQueries, 4, kSource>(run, column);
    }
  }
  for (; column + 32 <= run.columns; column += 32) {
    value_columns<kQueries, 2, kSource>(run, column);
  }
  if (column < run.columns) value_columns<kQueries, 1, kSource>(run, column);
}
