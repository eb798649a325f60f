// Activations of one row as int8 with a scale per chunk of 32, and the spikes among them.

static constexpr int kSpikeShift = 7;
static_assert(1 << kSpikeShift == kSpikeUnit);

// A spike: multiples of kSpikeUnit (0: none) that the chunk's value `at` leaves over.
struct SpikeOf {
  int value;
  int at;
};

// The largest value in two parts, steps and multiples of 128 of them, so that the others keep the
// scale of the second largest.
static SERVAL_NOINLINE SpikeOf quantize_spiked(const float* x, const float* top, int8_t* bytes,
                                               float& scale, int32_t* sums) {
  const F32 a = load_f32(x);
  const F32 b = load_f32(x + 16);
  const int in_a = first_equal(abs(a), top[0]);
  const int at = in_a < 16 ? in_a : 16 + (first_equal(abs(b), top[0]) & 15);
  const uint32_t bit = 1U << (at & 15);
  const F32 rest_a = at < 16 ? select_bits(bit, zero_f32(), a) : a;
  const F32 rest_b = at < 16 ? b : select_bits(bit, zero_f32(), b);
  const float by_rest = top[1] * (1.0F / 127.0F);
  const float by_spike = top[0] * (1.0F / (127.0F * kSpikeUnit));
  scale = by_rest > by_spike ? by_rest : by_spike;
  const float inverse = 1.0F / scale;
  quantize_32(rest_a, rest_b, inverse, bytes, sums);
  const int steps = round_to_int(x[at] * inverse);
  const int value = (steps + kSpikeUnit / 2) >> kSpikeShift;
  bytes[at] = static_cast<int8_t>(steps - value * kSpikeUnit);
  sums[at / 16] += bytes[at];
  return {value, at};
}

// 32 values to bytes, their scale and the sums of the halves' bytes. A spike is taken out where
// that lowers the noise of the steps, which goes with the square of the largest value, by more than
// `worth`.
static SERVAL_INLINE SpikeOf quantize_chunk(const float* x, float worth, int8_t* bytes,
                                            float& scale, int32_t* sums) {
  const F32 a = load_f32(x);
  const F32 b = load_f32(x + 16);
  if (any_not_finite(a, b)) {
    // Whatever it is multiplied with becomes NaN too, so that the logits tell of it.
    quantize_32(zero_f32(), zero_f32(), 0.0F, bytes, sums);
    scale = __builtin_nanf("");
    return {0, 0};
  }
  float top[2];
  top_two(abs(a), abs(b), top);
  if (top[0] * top[0] - top[1] * top[1] > worth) {
    return quantize_spiked(x, top, bytes, scale, sums);
  }
  // Below this the reciprocal overflows; such a chunk is zero for any purpose.
  const bool tiny = top[0] < 1e-30F;
  scale = tiny ? 0.0F : top[0] * (1.0F / 127.0F);
  quantize_32(a, b, tiny ? 0.0F : 1.0F / scale, bytes, sums);
  return {0, 0};
}

// One chunk of the rows that are quantised together.
struct QuantizedChunk {
  alignas(64) int8_t bytes[kTileTokens][32];
  float scale[kTileTokens];
  int32_t sums[kTileTokens][2];  // of the bytes of every 16
  int32_t all[kTileTokens][2];   // the spikes included
};

// Where a chunk of the rows goes, in a tile of `nr`.
struct ChunkPlaces {
  int8_t* q;
  float* scale;
  uint8_t* plane[kMaxPlanes];
};

static SERVAL_INLINE void store_plane(const QuantizedChunk& chunk, int count, const PlaneSpec& spec,
                                      size_t nr, uint8_t* plane) {
  for (int sub = 0; sub < spec.subs; ++sub, plane += 4 * nr) {
    for (int t = 0; t < count; ++t) {
      const int32_t* sums = spec.min ? chunk.all[t] : chunk.sums[t];
      const int32_t sum = spec.subs == 2 ? sums[sub] : sums[0] + sums[1];
      if (spec.min) {
        const float value = chunk.scale[t] * static_cast<float>(sum);
        __builtin_memcpy(plane + 4 * t, &value, 4);
      } else {
        const int32_t value = -spec.zero * sum;
        __builtin_memcpy(plane + 4 * t, &value, 4);
      }
    }
  }
}

static SERVAL_INLINE void store_chunk(const QuantizedChunk& chunk, int count,
                                      const ActivationLayout& layout, size_t nr, ChunkPlaces& to) {
  for (int j = 0; j < 8; ++j) {
    for (int t = 0; t < count; ++t) {
      copy_4(to.q + 4 * (static_cast<size_t>(j) * nr + static_cast<size_t>(t)),
             chunk.bytes[t] + 4 * j);
    }
  }
  to.q += 32 * nr;
  for (int t = 0; t < count; ++t) to.scale[t] = chunk.scale[t];
  to.scale += nr;
  for (int p = 0; p < layout.planes; ++p) {
    store_plane(chunk, count, layout.plane[p], nr, to.plane[p]);
    to.plane[p] += 4 * static_cast<size_t>(layout.plane[p].subs) * nr;
  }
}

// In mean squares of the row: docs/adr/0002-spikes.md.
static constexpr float kSpikeWorth = 16.0F;

static SERVAL_INLINE float mean_square(const float* x, int n) {
  F32 sum = zero_f32();
  for (int i = 0; i < n; i += 16) {
    const F32 v = load_f32(x + i);
    sum = fma(v, v, sum);
  }
  return reduce_add(sum) / static_cast<float>(n);
}

// Rows are quantised together, chunk by chunk, as their values stand side by side in the tile: one
// row after the other would write every line of it as often as there are rows.
template <int kCount, int kNr>
static SERVAL_INLINE void quantize_rows(const float* const* x, int run_count,
                                        const ActivationLayout& layout, uint8_t* tile, int run_nr,
                                        int t0) {
  const int count = kCount != 0 ? kCount : run_count;
  const size_t nr = static_cast<size_t>(kNr != 0 ? kNr : run_nr);
  const int chunks = layout.k / 32;
  float worth[kTileTokens];
  Spike* first_spike[kTileTokens];
  Spike* spike[kTileTokens];
  for (int t = 0; t < count; ++t) {
    // Not below what a square can hold: a spike is at least 1e-15.
    worth[t] = kSpikeWorth * mean_square(x[t], layout.k) + 1e-30F;
    first_spike[t] = spike[t] = reinterpret_cast<Spike*>(tile + layout.spike_offset * nr) +
                                static_cast<ptrdiff_t>(t0 + t) * chunks;
  }
  ChunkPlaces to;
  to.q = reinterpret_cast<int8_t*>(tile) + 4 * t0;
  to.scale = reinterpret_cast<float*>(tile + layout.scale_offset * nr) + t0;
  for (int p = 0; p < layout.planes; ++p) {
    to.plane[p] = tile + layout.plane_offset[p] * nr + 4 * static_cast<size_t>(t0);
  }
  QuantizedChunk chunk;
  for (int c = 0; c < chunks; ++c) {
    for (int t = 0; t < count; ++t) {
      int32_t* sums = chunk.sums[t];
      int32_t* all = chunk.all[t];
      const SpikeOf found =
          quantize_chunk(x[t] + 32 * c, worth[t], chunk.bytes[t], chunk.scale[t], sums);
      all[0] = sums[0];
      all[1] = sums[1];
      if (found.value == 0) continue;
      all[found.at / 16] += kSpikeUnit * found.value;
      const uint32_t byte = static_cast<uint32_t>(found.value & 0xFF);
      *spike[t]++ = {8 * c + found.at / 4, static_cast<int32_t>(byte << (8 * (found.at % 4))),
                     found.value, kSpikeUnit * chunk.scale[t]};
    }
    store_chunk(chunk, count, layout, nr, to);
  }
  int32_t* counts = reinterpret_cast<int32_t*>(tile + layout.count_offset * nr) + t0;
  for (int t = 0; t < count; ++t) counts[t] = static_cast<int32_t>(spike[t] - first_spike[t]);
}

static void quantize(const float* const* x, int count, const ActivationLayout& layout,
                     uint8_t* tile, int nr, int t) {
  if (count == kBulkTile && nr == kBulkTile) {
    return quantize_rows<kBulkTile, kBulkTile>(x, count, layout, tile, nr, t);
  }
  if (count == kTileTokens && nr == kTileTokens) {
    return quantize_rows<kTileTokens, kTileTokens>(x, count, layout, tile, nr, t);
  }
  if (nr == 1) return quantize_rows<1, 1>(x, count, layout, tile, nr, t);
  quantize_rows<0, 0>(x, count, layout, tile, nr, t);
}
