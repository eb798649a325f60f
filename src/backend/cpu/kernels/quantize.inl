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

// A row is quantised piece by piece into plain arrays, which are then spread over the tile.
static constexpr int kPieceChunks = 32;
struct QuantizedPiece {
  alignas(64) int8_t bytes[32 * kPieceChunks];
  float scale[kPieceChunks];
  int32_t sums[2 * kPieceChunks];  // of the bytes of every 16
  int32_t all[2 * kPieceChunks];   // the spikes included
};

static SERVAL_INLINE void spread(const QuantizedPiece& piece, int count, int nr, int8_t* q,
                                 float* scales) {
  const size_t step = 4 * static_cast<size_t>(nr);
  for (int i = 0; i < 8 * count; ++i, q += step) copy_4(q, piece.bytes + 4 * i);
  for (int c = 0; c < count; ++c, scales += nr) *scales = piece.scale[c];
}

// `plane`: of the piece's first chunk.
static SERVAL_INLINE void fill_plane(const QuantizedPiece& piece, int count, const PlaneSpec& spec,
                                     int nr, uint8_t* plane) {
  const int32_t* sums = spec.min ? piece.all : piece.sums;
  const size_t step = 4 * static_cast<size_t>(nr);
  const bool halves = spec.subs == 2;
  for (int i = 0; i < count * spec.subs; ++i, plane += step) {
    const int32_t sum = halves ? sums[i] : sums[2 * i] + sums[2 * i + 1];
    if (spec.min) {
      const float value = piece.scale[halves ? i / 2 : i] * static_cast<float>(sum);
      __builtin_memcpy(plane, &value, 4);
    } else {
      const int32_t value = -spec.zero * sum;
      __builtin_memcpy(plane, &value, 4);
    }
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

static void quantize(const float* x, const ActivationLayout& layout, uint8_t* tile, int nr, int t) {
  const size_t n = static_cast<size_t>(nr);
  const int chunks = layout.k / 32;
  // Not below what a square can hold: a spike is at least 1e-15.
  const float worth = kSpikeWorth * mean_square(x, layout.k) + 1e-30F;
  Spike* const spikes =
      reinterpret_cast<Spike*>(tile + layout.spike_offset * n) + static_cast<ptrdiff_t>(t) * chunks;
  Spike* spike = spikes;
  QuantizedPiece piece;
  for (int first = 0; first < chunks; first += kPieceChunks) {
    const int count = chunks - first < kPieceChunks ? chunks - first : kPieceChunks;
    for (int c = 0; c < count; ++c, x += 32) {
      int32_t* sums = piece.sums + 2 * c;
      int32_t* all = piece.all + 2 * c;
      const SpikeOf found = quantize_chunk(x, worth, piece.bytes + 32 * c, piece.scale[c], sums);
      all[0] = sums[0];
      all[1] = sums[1];
      if (found.value == 0) continue;
      all[found.at / 16] += kSpikeUnit * found.value;
      const uint32_t byte = static_cast<uint32_t>(found.value & 0xFF);
      *spike++ = {8 * (first + c) + found.at / 4,
                  static_cast<int32_t>(byte << (8 * (found.at % 4))), found.value,
                  kSpikeUnit * piece.scale[c]};
    }
    const size_t at = static_cast<size_t>(first) * n;
    spread(piece, count, nr, reinterpret_cast<int8_t*>(tile + 32 * at) + 4 * t,
           reinterpret_cast<float*>(tile + layout.scale_offset * n + 4 * at) + t);
    for (int p = 0; p < layout.planes; ++p) {
      const PlaneSpec& spec = layout.plane[p];
      fill_plane(piece, count, spec, nr,
                 tile + layout.plane_offset[p] * n + 4 * static_cast<size_t>(spec.subs) * at +
                     4 * static_cast<size_t>(t));
    }
  }
  reinterpret_cast<int32_t*>(tile + layout.count_offset * n)[t] =
      static_cast<int32_t>(spike - spikes);
}
