// Attention over the K/V cache.
//
// The attention of one query is defined per segment of 512 tokens, whatever else is computed
// beside it: scores by ascending head dimension, their maximum, weights 2^(score - maximum), sums
// of the weights per lane (token i in lane i % 16), values by ascending token. Segments' results
// are merged in ascending order (online softmax, Milakov and Gimelshein 2018). Tokens that a query
// does not see have weight 0, so it changes no bit whether a kernel skips or computes them. Scores
// count in powers of two: log2(e) is part of the scale of the queries.
//
// A job goes through a segment in three passes: scores of all its queries, eight at a time, tile
// by tile; softmax of every query; values. Many queries share K tiles and V strips expanded to
// floats (prefill); up to sixteen take them from the cache as they are and convert in registers, so
// that a decode reads the cache once and writes nothing but scores. q8 tiles are never expanded:
// attention_q8.inl multiplies integers.
//
// Limits: prefill and decode with many heads per KV head the float multiply-adds, 2 * head_dim for
// a query and a token; decode with few heads the read bandwidth, for which every tile is prefetched
// while the ones before it are computed.

static constexpr int kDirectGroups = 2;  // up to so many groups of queries convert in registers
static constexpr float kNegInf = -__builtin_inff();
static constexpr float kLowest = -3.0e38F;

// ---- kernels by number of queries and source

using ScoreCall = void (*)(const float*, const uint8_t*, int, const uint8_t*, float*);
struct GroupCalls {
  void (*pack)(const AttentionJob&, int, float*);
  void (*pack_q8)(const AttentionJob&, int, float*);
  ScoreCall score[4][2];  // [source][vectors - 1]
  void (*value[4])(const ValueRun&);
};
#define SERVAL_SCORES(n, source) \
  { score_tile<n, 1, source>, score_tile<n, 2, source> }
#define SERVAL_GROUP(n)                                                  \
  {                                                                      \
    pack_queries<n>, pack_queries_q8<n>,                                 \
        {SERVAL_SCORES(n, kKvF32),                                       \
         SERVAL_SCORES(n, kKvF16),                                       \
         {score_tile_q8<n, 1>, score_tile_q8<n, 2>},                     \
         SERVAL_SCORES(n, kExpanded)},                                   \
        {add_values<n, kKvF32>, add_values<n, kKvF16>, add_values_q8<n>, \
         add_values<n, kExpanded>},                                      \
  }
static const GroupCalls kGroupCalls[kQueryGroup] = {
    SERVAL_GROUP(1), SERVAL_GROUP(2), SERVAL_GROUP(3), SERVAL_GROUP(4),
    SERVAL_GROUP(5), SERVAL_GROUP(6), SERVAL_GROUP(7), SERVAL_GROUP(8)};
#undef SERVAL_GROUP
#undef SERVAL_SCORES

static void (*const kExpandK[])(const uint8_t*, int, float*) = {expand_k<kKvF32>, expand_k<kKvF16>};
static void (*const kExpandV[])(const uint8_t*, int, int, int, int, float*) = {expand_v<kKvF32>,
                                                                               expand_v<kKvF16>};

// ---- softmax

struct TokenRange {  // of a segment
  int first, end;
};

// What rows [row, last_row] see of a segment, together.
static SERVAL_INLINE TokenRange visible_range(const AttentionJob& job, int row, int last_row,
                                              int segment) {
  const int base = segment * kKvSegment;
  const int last = job.position + last_row + 1 - base;
  const int first = job.window > 0 ? job.position + row - job.window + 1 - base : 0;
  const TokenRange range = {first > 0 ? first : 0, last < kKvSegment ? last : kKvSegment};
  return range.first < range.end ? range : TokenRange{0, 0};
}

// Bit t: row `row` sees token t of the tile.
static SERVAL_INLINE uint32_t visible_bits(const AttentionJob& job, int tile, int row) {
  const int last = job.position + row - tile * kKvTile;
  const int first = job.window > 0 ? last - job.window + 1 : 0;
  if (last < 0 || first >= kKvTile) return 0;
  uint32_t bits = last >= kKvTile - 1 ? 0xFFFFFFFFU : (1U << (last + 1)) - 1;
  if (first > 0) bits &= ~((1U << first) - 1);
  return bits;
}

// Scores of one query become weights in place, zero in all[first, end) where it sees nothing;
// returns their sum. `all` contains `seen`.
static SERVAL_NOINLINE float softmax_row(TokenRange seen, TokenRange all, float softcap_value,
                                         float* s, float* maximum) {
  const int first = seen.first / 16 * 16;
  const int end = round_up_16(seen.end);
  for (int t = all.first / 16 * 16; t < first && t < all.end; t += 16) store_f32(s + t, zero_f32());
  for (int t = end; t < all.end; t += 16) store_f32(s + t, zero_f32());
  *maximum = kNegInf;
  if (seen.first == seen.end) return 0.0F;
  if (softcap_value > 0.0F) {
    const F32 cap = set1(softcap_value * kLog2E);
    const F32 inverse = set1(1.0F / softcap_value);
    for (int t = first; t < end; t += 16) {
      store_f32(s + t, softcap_f32(load_f32(s + t), cap, inverse));
    }
  }
  if (seen.first > first) {
    const uint32_t bits = 0xFFFFU << (seen.first - first) & 0xFFFFU;
    store_f32(s + first, select_bits(bits, load_f32(s + first), set1(kNegInf)));
  }
  if (seen.end < end) {
    const uint32_t bits = 0xFFFFU >> (end - seen.end);
    store_f32(s + end - 16, select_bits(bits, load_f32(s + end - 16), set1(kNegInf)));
  }
  F32 most = set1(kNegInf);
  for (int t = first; t < end; t += 16) most = max(most, load_f32(s + t));
  *maximum = reduce_max(most);
  const F32 base = set1(*maximum > kLowest ? *maximum : kLowest);  // -inf - base stays -inf
  F32 sum = zero_f32();
  for (int t = first; t < end; t += 16) {
    const F32 weight = exp2_f32(sub(load_f32(s + t), base));
    store_f32(s + t, weight);
    sum = add(sum, weight);
  }
  return reduce_add(sum);
}

// ---- merging segments

static constexpr int kPartialHead = 16;  // floats before acc: maximum, sum

// out (maximum, sum, acc) = merge of out and one segment of one query.
static void merge_segment(float maximum, float sum, const float* acc, int padded, float* out) {
  const float before = out[0];
  if (sum == 0.0F) return;  // nothing visible; NaN goes on
  const float now = before > maximum ? before : maximum;
  alignas(64) float factor[16] = {before - now, maximum - now};
  store_f32(factor, exp2_f32(load_f32(factor)));
  out[0] = now;
  out[1] = out[1] * factor[0] + sum * factor[1];
  const F32 old_factor = set1(factor[0]);
  const F32 new_factor = set1(factor[1]);
  for (int d = 0; d < padded; d += 16) {
    float* to = out + kPartialHead + d;
    store_f32(to, fma(load_f32(acc + d), new_factor, mul(load_f32(to), old_factor)));
  }
}

static void reset_partial(int padded, float* out) {
  out[0] = kNegInf;
  out[1] = 0.0F;
  for (int d = 0; d < padded; d += 16) store_f32(out + kPartialHead + d, zero_f32());
}

static void finish_query(const float* merged, int head_dim, float* o) {
  const float inverse = merged[1] == 0.0F ? 0.0F : 1.0F / merged[1];  // NaN goes on
  for (int d = 0; d < head_dim; ++d) o[d] = merged[kPartialHead + d] * inverse;
}

static void merge(const float* partials, int count, int64_t stride, int head_dim, float* o) {
  const int padded = round_up_16(head_dim);
  alignas(64) float merged[kPartialHead + 512];
  // Head dimensions above 512 do not occur (checked when the cache is made).
  reset_partial(padded, merged);
  for (int s = 0; s < count; ++s) {
    const float* p = partials + s * stride;
    merge_segment(p[0], p[1], p + kPartialHead, padded, merged);
  }
  finish_query(merged, head_dim, o);
}

// ---- one job

// A job's shape and scratch.
struct Attention {
  const AttentionJob* job;
  int head_dim, padded, queries, groups, partial_floats;
  int source;  // of the kernels: the cache's format, or kExpanded
  int ahead;   // tiles between a prefetch and its use
  int last_tile;
  float* packed;   // [groups][head_dim][8]
  float* acc;      // [queries][padded]
  float* merged;   // [queries][partial_floats]
  float* scores;   // [groups][8][kScoreStride]
  float* maximum;  // [queries], and sum
  float* sum;
  float* k_tile;   // [head_dim][32]
  float* v_strip;  // [512][32]

  int group_queries(int g) const {
    return queries - kQueryGroup * g < kQueryGroup ? queries - kQueryGroup * g : kQueryGroup;
  }
  TokenRange group_range(int g, int segment) const {
    const int first = kQueryGroup * g;
    return visible_range(*job, first / job->group, (first + group_queries(g) - 1) / job->group,
                         segment);
  }
  TokenRange job_range(int segment) const { return visible_range(*job, 0, job->rows - 1, segment); }
  float* group_scores(int g) const { return scores + g * kQueryGroup * kScoreStride; }
  const uint8_t* k(int tile) const { return job->kv->k + place(tile) * job->kv->k_bytes; }
  const uint8_t* v(int tile) const { return job->kv->v + place(tile) * job->kv->v_bytes; }

 private:
  // Tiles before this one in the cache, as kv_piece_offset() lays them, which no kernel may
  // include. Beyond the last tile: of the last, so that prefetches stay inside the cache.
  size_t place(int tile) const {
    constexpr int kRun = kKvSegment / kKvTile;
    const int32_t block = job->blocks[tile < last_tile ? tile : last_tile];
    const size_t run = static_cast<size_t>(block / kRun * job->kv->kv_heads + job->kv_head);
    return run * kRun + static_cast<size_t>(block % kRun);
  }
};

static Attention plan(const AttentionJob& job) {
  Attention a = {};
  const KvView& kv = *job.kv;
  a.job = &job;
  a.head_dim = kv.head_dim;
  a.padded = round_up_16(kv.head_dim);
  a.queries = job.rows * job.group;
  a.groups = (a.queries + kQueryGroup - 1) / kQueryGroup;
  a.partial_floats = kPartialHead + a.padded;
  // Rows of V that end inside a vector are expanded, which fills them up.
  const bool direct = kv.format == kKvQ8 || (a.groups <= kDirectGroups && a.padded == a.head_dim);
  a.source = direct ? kv.format : kExpanded;
  // Measured: the distance that is best for weights is best here, too.
  const int tile_bytes = static_cast<int>(kv.k_bytes);
  const int ahead = (kPrefetchDistance + tile_bytes / 2) / tile_bytes;
  a.ahead = ahead > 1 ? ahead : 1;
  a.last_tile = (job.position + job.rows - 1) / kKvTile;
  const int slots = a.groups * kQueryGroup;
  a.packed = job.scratch;
  a.acc = a.packed + slots * a.padded;
  a.merged = a.acc + slots * a.padded;
  a.scores = a.merged + slots * a.partial_floats;
  a.maximum = a.scores + slots * kScoreStride;
  a.sum = a.maximum + slots;
  a.k_tile = a.sum + slots;
  a.v_strip = a.k_tile + kKvTile * a.padded;
  return a;
}

static void score_segment(const Attention& a, int segment) {
  const int tiles = segment * (kKvSegment / kKvTile);
  const TokenRange range = a.job_range(segment);
  const int end = (range.end + kKvTile - 1) / kKvTile;
  for (int tile = range.first / kKvTile; tile < end; ++tile) {
    const uint8_t* k = a.k(tiles + tile);
    const uint8_t* ahead =
        tile + a.ahead < end ? a.k(tiles + tile + a.ahead) : a.v(tiles + tile + a.ahead - end);
    if (a.source == kExpanded) {
      kExpandK[a.job->kv->format](k, a.head_dim, a.k_tile);
      k = reinterpret_cast<const uint8_t*>(a.k_tile);
    }
    const int token = tile * kKvTile;
    for (int g = 0; g < a.groups; ++g) {
      const TokenRange seen = a.group_range(g, segment);
      if (seen.end <= token || seen.first >= token + kKvTile) continue;
      const GroupCalls& calls = kGroupCalls[a.group_queries(g) - 1];
      calls.score[a.source][seen.end - token > 16 ? 1 : 0](
          a.packed + g * kQueryGroup * a.padded, k, a.head_dim, ahead, a.group_scores(g) + token);
    }
  }
}

static void softmax_segment(const Attention& a, int segment) {
  for (int i = 0; i < a.queries; ++i) {
    const int g = i / kQueryGroup;
    const int row = i / a.job->group;
    float* scores = a.group_scores(g) + i % kQueryGroup * kScoreStride;
    a.sum[i] = softmax_row(visible_range(*a.job, row, row, segment), a.group_range(g, segment),
                           a.job->softcap, scores, a.maximum + i);
  }
}

// Values straight from the cache, tile by tile.
static void add_tiles(const Attention& a, int segment) {
  const int tiles = segment * (kKvSegment / kKvTile);
  const TokenRange range = a.job_range(segment);
  const int end = (range.end + kKvTile - 1) / kKvTile;
  const AttentionJob& job = *a.job;
  for (int tile = range.first / kKvTile; tile < end; ++tile) {
    const uint8_t* v = a.v(tiles + tile);
    const int next = tiles + tile + a.ahead;
    const uint8_t* ahead = tile + a.ahead < end ? a.v(next) : a.k(next);
    for (int g = 0; g < a.groups; ++g) {
      const TokenRange seen = a.group_range(g, segment);
      const int token = tile * kKvTile;
      if (seen.end <= token || seen.first >= token + kKvTile) continue;
      const int n = a.group_queries(g);
      uint32_t visible[kQueryGroup];
      if (a.source == kKvQ8) {
        for (int i = 0; i < n; ++i) {
          visible[i] = visible_bits(job, tiles + tile, (kQueryGroup * g + i) / job.group);
        }
      }
      ValueRun run = {};
      run.p = a.group_scores(g) + token;
      run.v = v;
      run.ahead = ahead;
      run.visible = visible;
      run.stride = a.head_dim;
      run.first = seen.first > token ? seen.first - token : 0;
      run.end = seen.end - token < kKvTile ? seen.end - token : kKvTile;
      run.columns = a.padded;
      run.acc = a.acc + g * kQueryGroup * a.padded;
      run.acc_stride = a.padded;
      kGroupCalls[n - 1].value[a.source](run);
    }
  }
}

// Values by strips of 32 columns, expanded for all queries.
static void add_strips(const Attention& a, int segment) {
  const int tiles = segment * (kKvSegment / kKvTile);
  const TokenRange range = a.job_range(segment);
  for (int column = 0; column < a.padded; column += kStripColumns) {
    for (int token = range.first / kKvTile * kKvTile; token < range.end; token += kKvTile) {
      const int from = range.first > token ? range.first - token : 0;
      const int to = range.end - token < kKvTile ? range.end - token : kKvTile;
      kExpandV[a.job->kv->format](a.v(tiles + token / kKvTile), a.head_dim, column, from, to,
                                  a.v_strip + token * kStripColumns);
    }
    for (int g = 0; g < a.groups; ++g) {
      const TokenRange seen = a.group_range(g, segment);
      ValueRun run = {};
      run.p = a.group_scores(g);
      run.v = reinterpret_cast<const uint8_t*>(a.v_strip);
      run.stride = kStripColumns;
      run.first = seen.first;
      run.end = seen.end;
      run.columns = a.padded - column < kStripColumns ? a.padded - column : kStripColumns;
      run.acc = a.acc + g * kQueryGroup * a.padded + column;
      run.acc_stride = a.padded;
      kGroupCalls[a.group_queries(g) - 1].value[kExpanded](run);
    }
  }
}

// The segment's results become partials, or are merged.
static void end_segment(const Attention& a, int segment) {
  const AttentionJob& job = *a.job;
  for (int i = 0; i < a.queries; ++i) {
    const float* from = a.acc + i * a.padded;
    if (job.partial == nullptr) {
      merge_segment(a.maximum[i], a.sum[i], from, a.padded, a.merged + i * a.partial_floats);
      continue;
    }
    const int64_t place = static_cast<int64_t>(segment - job.first_segment) * a.queries + i;
    float* out = job.partial + place * a.partial_floats;
    out[0] = a.maximum[i];
    out[1] = a.sum[i];
    for (int d = 0; d < a.padded; d += 16) store_f32(out + kPartialHead + d, load_f32(from + d));
  }
}

static void attend(const AttentionJob& job) {
  const Attention a = plan(job);
  for (int g = 0; g < a.groups; ++g) {
    const GroupCalls& calls = kGroupCalls[a.group_queries(g) - 1];
    (a.source == kKvQ8 ? calls.pack_q8 : calls.pack)(job, kQueryGroup * g,
                                                     a.packed + g * kQueryGroup * a.padded);
  }
  for (int i = 0; i < a.queries; ++i) reset_partial(a.padded, a.merged + i * a.partial_floats);
  for (int segment = job.first_segment; segment < job.end_segment; ++segment) {
    for (int i = 0; i < a.queries * a.padded; i += 16) store_f32(a.acc + i, zero_f32());
    score_segment(a, segment);
    softmax_segment(a, segment);
    a.source == kExpanded ? add_strips(a, segment) : add_tiles(a, segment);
    end_segment(a, segment);
  }
  if (job.partial != nullptr) return;
  for (int i = 0; i < a.queries; ++i) {
    finish_query(
        a.merged + i * a.partial_floats, a.head_dim,
        job.o + job.o_stride * (i / job.group) + static_cast<int64_t>(i % job.group) * a.head_dim);
  }
}
