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

// ---- scores

// scores[query][32] = q k for one tile; q is packed [head_dim][kQueries]. Registers: 2 sums for
// each query, 2 of K, one broadcast. kVectors 1: only the first 16 tokens are wanted.
template <int kQueries, int kVectors, int kSource>
static SERVAL_NOINLINE void score_tile(const float* q, const uint8_t* k, int head_dim,
                                       const uint8_t* ahead, float* scores) {
  constexpr int kRow = kKvTile * element_bytes<kSource>();
  F32 sum[kQueries][kVectors];
  F32 scale[kVectors];
  SERVAL_UNROLL
  for (int i = 0; i < kQueries; ++i) {
    SERVAL_UNROLL
    for (int j = 0; j < kVectors; ++j) sum[i][j] = zero_f32();
  }
  const uint8_t* scales = k + kKvTile * head_dim;
  const ptrdiff_t ahead_offset = ahead - k;
  for (int group = 0; group < head_dim; group += 32, scales += 2 * kKvTile) {
    if constexpr (kSource == kKvQ8) {
      SERVAL_UNROLL
      for (int j = 0; j < kVectors; ++j) scale[j] = load_f16(scales + 32 * j);
      __builtin_prefetch(scales + ahead_offset, 0, 2);
    }
    const int end = head_dim - group < 32 ? head_dim - group : 32;
    for (int d = 0; d < end; ++d, k += kRow, q += kQueries) {
      F32 key[kVectors];
      SERVAL_UNROLL
      for (int j = 0; j < kVectors; ++j) {
        key[j] = load_elements<kSource>(k + j * kRow / 2);
        if constexpr (kSource == kKvQ8) key[j] = mul(key[j], scale[j]);
      }
      if constexpr (kSource != kExpanded) {
        for (int b = 0; b < kRow; b += 64) __builtin_prefetch(ahead + b, 0, 2);
        ahead += kRow;
      }
      SERVAL_UNROLL
      for (int i = 0; i < kQueries; ++i) {
        SERVAL_UNROLL
        for (int j = 0; j < kVectors; ++j) sum[i][j] = fma_broadcast(key[j], q + i, sum[i][j]);
      }
    }
  }
  SERVAL_UNROLL
  for (int i = 0; i < kQueries; ++i) {
    SERVAL_UNROLL
    for (int j = 0; j < kVectors; ++j) store_f32(scores + kScoreStride * i + 16 * j, sum[i][j]);
  }
}

// ---- values

// acc[query][columns] += p[query][tokens] v[tokens][columns]
struct ValueRun {
  const float* p;         // of the first token; queries kScoreStride apart
  const uint8_t* v;       // first token
  const uint8_t* ahead;   // prefetched in parallel; not for kExpanded
  const uint8_t* scales;  // q8: f16 [tokens][groups]
  int stride;             // elements between tokens
  int tokens, columns;    // columns: a multiple of 16
  float* acc;
  int acc_stride;
};

// Columns [column, column + 16 kVectors). Registers: kQueries x kVectors sums, kVectors values, one
// broadcast.
template <int kQueries, int kVectors, int kSource>
static SERVAL_INLINE void value_columns(const ValueRun& run, const float* scales, int column) {
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
  const uint8_t* v = run.v + kSize * column;
  const uint8_t* ahead = run.ahead + kSize * column;
  const int step = kSize * run.stride;
  const int groups = kSource == kKvQ8 ? kv_groups(run.stride) : 0;
  const float* scale = scales + column / 32;
  for (int t = 0; t < run.tokens; ++t, v += step, ahead += step, scale += groups) {
    F32 value[kVectors];
    SERVAL_UNROLL
    for (int j = 0; j < kVectors; ++j) {
      value[j] = load_elements<kSource>(v + 16 * kSize * j);
      if constexpr (kSource == kKvQ8) value[j] = mul(value[j], set1(scale[j / 2]));
    }
    if constexpr (kSource != kExpanded) {
      for (int b = 0; b < 16 * kSize * kVectors; b += 64) __builtin_prefetch(ahead + b, 0, 2);
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
  alignas(64) float scales[kSource == kKvQ8 ? kKvTile * 16 : 16];
  if constexpr (kSource == kKvQ8) {
    const int count = run.tokens * kv_groups(run.stride);
    for (int i = 0; i < count; i += 16) {
      store_f32(scales + i, load_f16(run.scales + 2 * i));
      if (i % 32 == 0) __builtin_prefetch(run.scales + (run.ahead - run.v) + 2 * i, 0, 2);
    }
  }
  int column = 0;
  if constexpr (kQueries < 4) {  // enough independent sums to hide the latency of the adders
    for (; column + 64 <= run.columns; column += 64) {
      value_columns<kQueries, 4, kSource>(run, scales, column);
    }
  }
  for (; column + 32 <= run.columns; column += 32) {
    value_columns<kQueries, 2, kSource>(run, scales, column);
  }
  if (column < run.columns) value_columns<kQueries, 1, kSource>(run, scales, column);
}

// ---- kernels by number of queries and source

// Queries [first, first + kQueries), scaled, as [head_dim][kQueries].
template <int kQueries>
static void pack_queries(const AttentionJob& job, int first, float* out) {
  const float scale = job.softcap > 0.0F ? job.scale : job.scale * kLog2E;
  for (int i = 0; i < kQueries; ++i) {
    const int query = first + i;
    const float* q = job.q + job.q_stride * (query / job.group) +
                     static_cast<int64_t>(query % job.group) * job.kv->head_dim;
    for (int d = 0; d < job.kv->head_dim; ++d) out[kQueries * d + i] = q[d] * scale;
  }
}

using ScoreCall = void (*)(const float*, const uint8_t*, int, const uint8_t*, float*);
struct GroupCalls {
  void (*pack)(const AttentionJob&, int, float*);
  ScoreCall score[4][2];  // [source][vectors - 1]
  void (*value[4])(const ValueRun&);
};
#define SERVAL_SCORES(n, source) \
  { score_tile<n, 1, source>, score_tile<n, 2, source> }
#define SERVAL_GROUP(n)                                                               \
  {                                                                                   \
    pack_queries<n>,                                                                  \
        {SERVAL_SCORES(n, kKvF32), SERVAL_SCORES(n, kKvF16), SERVAL_SCORES(n, kKvQ8), \
         SERVAL_SCORES(n, kExpanded)},                                                \
        {add_values<n, kKvF32>, add_values<n, kKvF16>, add_values<n, kKvQ8>,          \
         add_values<n, kExpanded>},                                                   \
  }
static const GroupCalls kGroupCalls[kQueryGroup] = {
    SERVAL_GROUP(1), SERVAL_GROUP(2), SERVAL_GROUP(3), SERVAL_GROUP(4),
    SERVAL_GROUP(5), SERVAL_GROUP(6), SERVAL_GROUP(7), SERVAL_GROUP(8)};
#undef SERVAL_GROUP
#undef SERVAL_SCORES

static void (*const kExpandK[])(const uint8_t*, int, float*) = {expand_k<kKvF32>, expand_k<kKvF16>,
                                                                expand_k<kKvQ8>};
static void (*const kExpandV[])(const uint8_t*, int, int, int, int, float*) = {
    expand_v<kKvF32>, expand_v<kKvF16>, expand_v<kKvQ8>};
