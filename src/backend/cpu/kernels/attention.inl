// K/V cache rows and attention over them.
//
// Attention of one query is defined per 32-token tile at absolute positions, whatever else is
// computed beside it: scores by ascending head dimension, mask, running maximum (online softmax,
// Milakov and Gimelshein 2018), weights and sums per lane, values by ascending token. Tiles belong
// to 512-token segments; each segment starts afresh and the segments' results are merged in
// ascending order. A tile or segment without visible tokens changes no bit, so it may be skipped.
// Queries are computed eight at a time against K and V tiles expanded to float; all query heads of
// a KV head share the expanded tiles, and so do the rows of a prefill chunk.

static constexpr int kQueryGroup = 8;
static constexpr float kNegInf = -__builtin_inff();
static constexpr float kLowest = -3.0e38F;

static SERVAL_INLINE int round_up_16(int n) { return (n + 15) / 16 * 16; }

// ---- cache rows

static SERVAL_INLINE int kv_groups(int head_dim) { return (head_dim + 31) / 32; }

static void store_k(int format, const float* k, int head_dim, int token, uint8_t* block) {
  if (format == kKvF32) {
    float* out = reinterpret_cast<float*>(block) + token;
    for (int d = 0; d < head_dim; ++d) out[kKvTile * d] = k[d];
  } else if (format == kKvF16) {
    uint16_t* out = reinterpret_cast<uint16_t*>(block) + token;
    alignas(64) uint16_t half[16];
    for (int d = 0; d < head_dim; d += 16) {
      const int rest = head_dim - d;
      store_f16(half, rest >= 16 ? load_f32(k + d) : load_some(k + d, rest));
      for (int i = 0; i < 16 && i < rest; ++i) out[kKvTile * (d + i)] = half[i];
    }
  } else {
    int8_t* out = reinterpret_cast<int8_t*>(block) + token;
    uint16_t* scales = reinterpret_cast<uint16_t*>(block + kKvTile * head_dim) + token;
    alignas(64) int8_t bytes[32];
    for (int d = 0; d < head_dim; d += 32) {
      const int rest = head_dim - d < 32 ? head_dim - d : 32;
      scales[kKvTile * (d / 32)] = quantize_kv_group(k + d, rest, bytes);
      for (int i = 0; i < rest; ++i) out[kKvTile * (d + i)] = bytes[i];
    }
  }
}

static void store_v(int format, const float* v, int head_dim, int token, uint8_t* block) {
  if (format == kKvF32) {
    float* out = reinterpret_cast<float*>(block) + token * head_dim;
    for (int d = 0; d < head_dim; ++d) out[d] = v[d];
  } else if (format == kKvF16) {
    uint16_t* out = reinterpret_cast<uint16_t*>(block) + token * head_dim;
    alignas(64) uint16_t half[16];
    for (int d = 0; d < head_dim; d += 16) {
      const int rest = head_dim - d;
      if (rest >= 16) {
        store_f16(out + d, load_f32(v + d));
      } else {
        store_f16(half, load_some(v + d, rest));
        for (int i = 0; i < rest; ++i) out[d + i] = half[i];
      }
    }
  } else {
    int8_t* out = reinterpret_cast<int8_t*>(block) + token * head_dim;
    uint16_t* scales =
        reinterpret_cast<uint16_t*>(block + kKvTile * head_dim) + token * kv_groups(head_dim);
    alignas(64) int8_t bytes[32];
    for (int d = 0; d < head_dim; d += 32) {
      const int rest = head_dim - d < 32 ? head_dim - d : 32;
      scales[d / 32] = quantize_kv_group(v + d, rest, bytes);
      for (int i = 0; i < rest; ++i) out[d + i] = bytes[i];
    }
  }
}

// ---- tiles as float: K [head_dim][32], V [tokens][padded head_dim]

static SERVAL_NOINLINE void expand_k(int format, const uint8_t* block, int head_dim, float* out) {
  const int n = head_dim * kKvTile;
  if (format == kKvF32) {
    const float* in = reinterpret_cast<const float*>(block);
    for (int i = 0; i < n; i += 16) store_f32(out + i, load_f32(in + i));
  } else if (format == kKvF16) {
    for (int i = 0; i < n; i += 16) store_f32(out + i, load_f16(block + 2 * i));
  } else {
    const uint8_t* scales = block + n;
    for (int d = 0; d < head_dim; ++d) {
      for (int t = 0; t < kKvTile; t += 16) {
        const F32 scale = load_f16(scales + 2 * (kKvTile * (d / 32) + t));
        store_f32(out + kKvTile * d + t, mul(scale, to_f32(load_i8_i32(block + kKvTile * d + t))));
      }
    }
  }
}

static SERVAL_NOINLINE void expand_v(int format, const uint8_t* block, int head_dim, int tokens,
                                     float* out) {
  const int padded = round_up_16(head_dim);
  const int groups = kv_groups(head_dim);
  alignas(64) uint8_t part[64];
  for (int t = 0; t < tokens; ++t, out += padded) {
    for (int d = 0; d < head_dim; d += 16) {
      const int size = format == kKvF32 ? 4 : format == kKvF16 ? 2 : 1;
      const uint8_t* in = block + size * (t * head_dim + d);
      if (head_dim - d < 16) {
        for (int i = 0; i < 64; ++i) part[i] = i < size * (head_dim - d) ? in[i] : 0;
        in = part;
      }
      F32 value;
      if (format == kKvF32) {
        value = load_f32(reinterpret_cast<const float*>(in));
      } else if (format == kKvF16) {
        value = load_f16(in);
      } else {
        const uint8_t* scale = block + kKvTile * head_dim + 2 * (t * groups + d / 32);
        value = mul(set1(f16_value(scale)), to_f32(load_i8_i32(in)));
      }
      store_f32(out + d, value);
    }
  }
}

// ---- products

// scores[query][32] = q k; q is packed [head_dim][kQueries].
template <int kQueries>
static SERVAL_NOINLINE void score_tile(const float* q, const float* k, int head_dim,
                                       float* scores) {
  F32 a[kQueries], b[kQueries];
  SERVAL_UNROLL
  for (int i = 0; i < kQueries; ++i) a[i] = b[i] = zero_f32();
  for (int d = 0; d < head_dim; ++d, k += kKvTile, q += kQueries) {
    const F32 k0 = load_f32(k);
    const F32 k1 = load_f32(k + 16);
    SERVAL_UNROLL
    for (int i = 0; i < kQueries; ++i) {
      a[i] = fma_broadcast(k0, q + i, a[i]);
      b[i] = fma_broadcast(k1, q + i, b[i]);
    }
  }
  SERVAL_UNROLL
  for (int i = 0; i < kQueries; ++i) {
    store_f32(scores + kKvTile * i, a[i]);
    store_f32(scores + kKvTile * i + 16, b[i]);
  }
}

// acc[query][padded] = acc * correction[query] + p[query][tokens] v
template <int kQueries, int kVectors>
static SERVAL_INLINE void value_columns(const float* p, const float* correction, const float* v,
                                        int tokens, int padded, float* acc) {
  F32 sum[kQueries][kVectors];
  SERVAL_UNROLL
  for (int i = 0; i < kQueries; ++i) {
    SERVAL_UNROLL
    for (int j = 0; j < kVectors; ++j) {
      sum[i][j] = mul(load_f32(acc + i * padded + 16 * j), set1(correction[i]));
    }
  }
  for (int t = 0; t < tokens; ++t, v += padded) {
    F32 value[kVectors];
    SERVAL_UNROLL
    for (int j = 0; j < kVectors; ++j) value[j] = load_f32(v + 16 * j);
    SERVAL_UNROLL
    for (int i = 0; i < kQueries; ++i) {
      SERVAL_UNROLL
      for (int j = 0; j < kVectors; ++j) {
        sum[i][j] = fma_broadcast(value[j], p + kKvTile * i + t, sum[i][j]);
      }
    }
  }
  SERVAL_UNROLL
  for (int i = 0; i < kQueries; ++i) {
    SERVAL_UNROLL
    for (int j = 0; j < kVectors; ++j) store_f32(acc + i * padded + 16 * j, sum[i][j]);
  }
}

template <int kQueries>
static SERVAL_NOINLINE void value_tile(const float* p, const float* correction, const float* v,
                                       int tokens, int padded, float* acc) {
  int d = 0;
  for (; d + 32 <= padded; d += 32) {
    value_columns<kQueries, 2>(p, correction, v + d, tokens, padded, acc + d);
  }
  if (d < padded) value_columns<kQueries, 1>(p, correction, v + d, tokens, padded, acc + d);
}

// ---- softmax of one tile for up to eight queries

struct Softmax {
  float maximum[16];
  float sum[kQueryGroup][16];  // per lane
};

static SERVAL_INLINE void softmax_reset(Softmax& s) {
  for (int i = 0; i < 16; ++i) s.maximum[i] = kNegInf;
  for (int i = 0; i < kQueryGroup; ++i) store_f32(s.sum[i], zero_f32());
}

// Scores become weights in place; correction[i] scales what was summed before. Bit t of visible[i]
// says whether query i sees token t.
static SERVAL_NOINLINE void softmax_tile(int queries, const uint32_t* visible, float softcap_value,
                                         float* scores, Softmax& state, float* correction) {
  alignas(64) float tile_max[16];
  for (int i = 0; i < 16; ++i) tile_max[i] = kNegInf;
  for (int i = 0; i < queries; ++i) {
    F32 a = load_f32(scores + kKvTile * i);
    F32 b = load_f32(scores + kKvTile * i + 16);
    if (softcap_value > 0.0F) {
      const F32 cap = set1(softcap_value);
      const F32 inverse = set1(1.0F / softcap_value);
      a = softcap_f32(a, cap, inverse);
      b = softcap_f32(b, cap, inverse);
    }
    if (visible[i] != 0xFFFFFFFFU) {
      a = select_bits(visible[i] & 0xFFFFU, a, set1(kNegInf));
      b = select_bits(visible[i] >> 16, b, set1(kNegInf));
    }
    if (softcap_value > 0.0F || visible[i] != 0xFFFFFFFFU) {
      store_f32(scores + kKvTile * i, a);
      store_f32(scores + kKvTile * i + 16, b);
    }
    tile_max[i] = reduce_max(max(a, b));
  }
  const F32 before = load_f32(state.maximum);
  const F32 now = max(before, load_f32(tile_max));
  const F32 base = max(now, set1(kLowest));  // nothing visible yet: -inf - base stays -inf
  alignas(64) float bases[16];
  store_f32(bases, base);
  store_f32(state.maximum, now);
  store_f32(correction, exp_f32(sub(before, base)));
  for (int i = 0; i < queries; ++i) {
    const F32 origin = set1(bases[i]);
    const F32 a = exp_f32(sub(load_f32(scores + kKvTile * i), origin));
    const F32 b = exp_f32(sub(load_f32(scores + kKvTile * i + 16), origin));
    store_f32(scores + kKvTile * i, a);
    store_f32(scores + kKvTile * i + 16, b);
    store_f32(state.sum[i], fma(load_f32(state.sum[i]), set1(correction[i]), add(a, b)));
  }
}

static SERVAL_INLINE uint32_t visible_tokens(int tile, int position, int window) {
  const int first = tile * kKvTile;
  const int last_seen = position - first;  // inclusive
  const int first_seen = window > 0 ? position - window + 1 - first : 0;
  if (last_seen < 0 || first_seen >= kKvTile) return 0;
  uint32_t bits = last_seen >= kKvTile - 1 ? 0xFFFFFFFFU : (1U << (last_seen + 1)) - 1;
  if (first_seen > 0) bits &= ~((1U << first_seen) - 1);
  return bits;
}

// ---- one job

// Queries [first, first + kQueries), scaled, as [head_dim][kQueries].
template <int kQueries>
static void pack_queries(const AttentionJob& job, int first, float* out) {
  for (int i = 0; i < kQueries; ++i) {
    const int query = first + i;
    const float* q = job.q + job.q_stride * (query / job.group) +
                     static_cast<int64_t>(query % job.group) * job.kv->head_dim;
    for (int d = 0; d < job.kv->head_dim; ++d) out[kQueries * d + i] = q[d] * job.scale;
  }
}

struct GroupCalls {
  void (*pack)(const AttentionJob&, int, float*);
  void (*score)(const float*, const float*, int, float*);
  void (*value)(const float*, const float*, const float*, int, int, float*);
};
#define SERVAL_GROUP(n) \
  { pack_queries<n>, score_tile<n>, value_tile<n> }
static const GroupCalls kGroupCalls[kQueryGroup] = {
    SERVAL_GROUP(1), SERVAL_GROUP(2), SERVAL_GROUP(3), SERVAL_GROUP(4),
    SERVAL_GROUP(5), SERVAL_GROUP(6), SERVAL_GROUP(7), SERVAL_GROUP(8)};
#undef SERVAL_GROUP

static constexpr int kPartialHead = 16;  // floats before acc: maximum, sum

// out (maximum, sum, acc) = merge of out and one segment of one query.
static void merge_segment(float maximum, float sum, const float* acc, int padded, float* out) {
  const float before = out[0];
  if (sum == 0.0F) return;  // nothing visible; NaN goes on
  const float now = before > maximum ? before : maximum;
  alignas(64) float factor[16] = {before - now, maximum - now};
  store_f32(factor, exp_f32(load_f32(factor)));
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
  const float inverse = merged[1] > 0.0F ? 1.0F / merged[1] : 0.0F;
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

static void attend(const AttentionJob& job) {
  const KvView& kv = *job.kv;
  const int head_dim = kv.head_dim;
  const int padded = round_up_16(head_dim);
  const int queries = job.rows * job.group;
  const int groups = (queries + kQueryGroup - 1) / kQueryGroup;
  const int last_position = job.position + job.rows - 1;
  const int partial_floats = kPartialHead + padded;

  // Scratch: K tile, V tile, packed queries, segment sums, merged results, softmax states.
  float* k_tile = job.scratch;
  float* v_tile = k_tile + kKvTile * head_dim;
  float* packed = v_tile + kKvTile * padded;
  float* acc = packed + groups * kQueryGroup * padded;
  float* merged = acc + groups * kQueryGroup * padded;
  Softmax* states = reinterpret_cast<Softmax*>(merged + groups * kQueryGroup * partial_floats);
  alignas(64) float scores[kQueryGroup * kKvTile];
  alignas(64) float correction[16];

  for (int g = 0; g < groups; ++g) {
    const int n = queries - kQueryGroup * g < kQueryGroup ? queries - kQueryGroup * g : kQueryGroup;
    kGroupCalls[n - 1].pack(job, kQueryGroup * g, packed + g * kQueryGroup * padded);
  }
  for (int i = 0; i < queries; ++i) reset_partial(padded, merged + i * partial_floats);

  for (int segment = job.first_segment; segment < job.end_segment; ++segment) {
    for (int g = 0; g < groups; ++g) softmax_reset(states[g]);
    for (int i = 0; i < queries * padded; i += 16) store_f32(acc + i, zero_f32());

    const int tiles_per_segment = kKvSegment / kKvTile;
    const int last_tile = last_position / kKvTile;
    for (int tile = segment * tiles_per_segment; tile < (segment + 1) * tiles_per_segment; ++tile) {
      if (tile > last_tile) break;
      if (job.window > 0 && (tile + 1) * kKvTile <= job.position - job.window + 1) continue;
      const int block = job.blocks[tile];
      const int stored = last_position + 1 - tile * kKvTile;
      const int tokens = stored < kKvTile ? stored : kKvTile;
      expand_k(kv.format,
               kv.k + static_cast<size_t>(block) * kv.k_block_bytes +
                   static_cast<size_t>(job.kv_head) * kv.k_head_bytes,
               head_dim, k_tile);
      expand_v(kv.format,
               kv.v + static_cast<size_t>(block) * kv.v_block_bytes +
                   static_cast<size_t>(job.kv_head) * kv.v_head_bytes,
               head_dim, tokens, v_tile);
      for (int g = 0; g < groups; ++g) {
        const int first = kQueryGroup * g;
        const int n = queries - first < kQueryGroup ? queries - first : kQueryGroup;
        uint32_t visible[kQueryGroup];
        uint32_t any = 0;
        for (int i = 0; i < n; ++i) {
          visible[i] = visible_tokens(tile, job.position + (first + i) / job.group, job.window);
          any |= visible[i];
        }
        if (any == 0) continue;
        kGroupCalls[n - 1].score(packed + first * padded, k_tile, head_dim, scores);
        softmax_tile(n, visible, job.softcap, scores, states[g], correction);
        kGroupCalls[n - 1].value(scores, correction, v_tile, tokens, padded, acc + first * padded);
      }
    }
    for (int i = 0; i < queries; ++i) {
      const Softmax& state = states[i / kQueryGroup];
      const int slot = i % kQueryGroup;
      const float sum = reduce_add(load_f32(state.sum[slot]));
      const float* from = acc + i * padded;
      if (job.partial != nullptr) {
        float* out =
            job.partial +
            (static_cast<int64_t>(segment - job.first_segment) * queries + i) * partial_floats;
        out[0] = state.maximum[slot];
        out[1] = sum;
        for (int d = 0; d < padded; d += 16) store_f32(out + kPartialHead + d, load_f32(from + d));
      } else {
        merge_segment(state.maximum[slot], sum, from, padded, merged + i * partial_floats);
      }
    }
  }
  if (job.partial != nullptr) return;
  for (int i = 0; i < queries; ++i) {
    finish_query(
        merged + i * partial_floats, head_dim,
        job.o + job.o_stride * (i / job.group) + static_cast<int64_t>(i % job.group) * head_dim);
  }
}
