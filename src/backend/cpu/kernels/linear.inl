// One weight panel times all rows of a step.
//
// Every output is one float accumulator to which the chunks are added in ascending k:
//   isum = exact integer dot product of 32 (or twice 16) weight bytes and activations, one of
//   which,
//          the spike, has an int8 part and a multiple of 128,
//   t    = float(isum) * scale                     (two halves: fma(float(isum1), scale1, t0)),
//   acc  = fma(t, activation scale, acc), then acc = fma(min, activation sum, acc) if the format
//   has
//          minimums.
// The three ways below (few rows: decode in registers; many rows: unpack the panel once; long rows:
// walk k in slices that stay in the first-level cache) perform exactly these operations per output,
// so a row's result does not depend on which of them ran.

struct Operand {
  const int8_t* q;
  const float* scale;
  const int32_t* spike;
  const uint8_t* plane;  // i32 or f32
};

// One panel, or two at a fixed distance (`stride` bytes) that share every broadcast of activations;
// `out` of the second follows at `out_stride` floats.
struct Panels {
  const uint8_t* w;
  size_t stride;
  float* out;
  int64_t out_stride;
};

// Memory to prefetch while multiplying: `chunk_bytes` (0: nothing) from `at` on for every chunk
// done.
struct Ahead {
  const uint8_t* at;
  int chunk_bytes;
};

// The eight lines of a chunk in memory: where they are, or decoded. A spike's line is looked up
// there.
template <class Format>
static SERVAL_INLINE const uint8_t* chunk_lines(const uint8_t* w, int c, uint8_t* decoded) {
  if constexpr (Format::kInPlace) {
    return Format::lines(w, c);
  } else {
    SERVAL_UNROLL
    for (int i = 0; i < 8; ++i) {
      const int j = (i % 2) * 4 + i / 2;  // lines that share a nibble source follow each other
      store_line(decoded + 64 * j, Format::line(w, c, j));
    }
    return decoded;
  }
}

static constexpr int kSpikeShift = 7;
static_assert(1 << kSpikeShift == kSpikeUnit);

// With one panel the broadcast is part of the instruction; two share it in a register, as loads
// and not dot products would be the limit.
template <int kPanels, class Weights>
static SERVAL_INLINE void dot_panels(const Weights* weights, I32* sum, const int8_t* a) {
  if constexpr (kPanels == 1) {
    weights[0].dot(sum[0], a);
  } else {
    const I32 four = broadcast_i32(reinterpret_cast<const uint8_t*>(a));
    SERVAL_UNROLL
    for (int p = 0; p < kPanels; ++p) weights[p].dot(sum[p], four);
  }
}

// `tokens` of the tile, which stores `stride` of them side by side. kStride 0: known at run time
// only.
template <class Format, int kPanels, int kTokens, int kStride>
static SERVAL_NOINLINE void multiply_tile(Panels to, int blocks, Operand a, int run_stride,
                                          bool resume, Ahead ahead) {
  using Weights = DotWeights<Format::kWide>;
  const int stride = kStride != 0 ? kStride : run_stride;
  constexpr int kSubLines = 8 / Format::kSubs;
  constexpr bool kZero = effective_zero<Format>() != 0;
  const uint8_t* w = to.w;
  alignas(64) uint8_t decoded[kPanels][512];
  F32 acc[kTokens][kPanels];
  SERVAL_UNROLL
  for (int t = 0; t < kTokens; ++t) {
    SERVAL_UNROLL
    for (int p = 0; p < kPanels; ++p) {
      acc[t][p] = resume ? load_f32(to.out + p * to.out_stride + 16 * t) : zero_f32();
    }
  }

  for (int b = 0; b < blocks; ++b, w += Format::kBlockBytes) {
    for (int c = 0; c < Format::kChunks; ++c) {
      const uint8_t* lines[kPanels];
      SERVAL_UNROLL
      for (int p = 0; p < kPanels; ++p) {
        lines[p] = chunk_lines<Format>(w + static_cast<size_t>(p) * to.stride, c, decoded[p]);
      }
      F32 term[kTokens][kPanels];
      SERVAL_UNROLL
      for (int sub = 0; sub < Format::kSubs; ++sub) {
        I32 sum[kTokens][kPanels];
        const int32_t* spike = a.spike + (Format::kSubs == 1 ? 1 : 2 + sub) * stride;
        SERVAL_UNROLL
        for (int t = 0; t < kTokens; ++t) {
          Weights weights[kPanels];
          SERVAL_UNROLL
          for (int p = 0; p < kPanels; ++p) {
            sum[t][p] = zero_i32();
            weights[p] = Weights(load_line(lines[p] + a.spike[t]));
          }
          dot_panels<kPanels>(weights, sum[t], reinterpret_cast<const int8_t*>(spike + t));
          SERVAL_UNROLL
          for (int p = 0; p < kPanels; ++p) {
            sum[t][p] = sll_i32(sum[t][p], kSpikeShift);
            if (kZero) {
              sum[t][p] = add_i32(sum[t][p], broadcast_i32(a.plane + 4 * (sub * stride + t)));
            }
          }
        }
        SERVAL_UNROLL
        for (int i = 0; i < kSubLines; ++i) {
          const int j = sub * kSubLines + i;
          Weights weights[kPanels];
          SERVAL_UNROLL
          for (int p = 0; p < kPanels; ++p) weights[p] = Weights(load_line(lines[p] + 64 * j));
          SERVAL_UNROLL
          for (int t = 0; t < kTokens; ++t) {
            dot_panels<kPanels>(weights, sum[t], a.q + 4 * (j * stride + t));
          }
        }
        SERVAL_UNROLL
        for (int p = 0; p < kPanels; ++p) {
          const F32 scale = Format::scale(w + static_cast<size_t>(p) * to.stride, c, sub);
          SERVAL_UNROLL
          for (int t = 0; t < kTokens; ++t) {
            const F32 value = to_f32(sum[t][p]);
            term[t][p] = sub == 0 ? mul(value, scale) : fma(value, scale, term[t][p]);
          }
        }
      }
      SERVAL_UNROLL
      for (int t = 0; t < kTokens; ++t) {
        SERVAL_UNROLL
        for (int p = 0; p < kPanels; ++p) {
          acc[t][p] = fma_broadcast(term[t][p], a.scale + t, acc[t][p]);
        }
      }
      if (Format::kMin) {
        SERVAL_UNROLL
        for (int i = 0; i < Format::kSubs * kPanels; ++i) {
          const int sub = i / kPanels;
          const int p = i % kPanels;
          const F32 min = Format::min(w + static_cast<size_t>(p) * to.stride, c, sub);
          SERVAL_UNROLL
          for (int t = 0; t < kTokens; ++t) {
            acc[t][p] = fma_broadcast(
                min, reinterpret_cast<const float*>(a.plane) + sub * stride + t, acc[t][p]);
          }
        }
      }
      a.q += 32 * stride;
      a.scale += stride;
      a.spike += 4 * stride;
      if (Format::kMin || kZero) a.plane += 4 * Format::kSubs * stride;
      for (int i = 0; i < ahead.chunk_bytes; i += 64) __builtin_prefetch(ahead.at + i);
      ahead.at += ahead.chunk_bytes;
    }
  }
  SERVAL_UNROLL
  for (int t = 0; t < kTokens; ++t) {
    SERVAL_UNROLL
    for (int p = 0; p < kPanels; ++p) store_f32(to.out + p * to.out_stride + 16 * t, acc[t][p]);
  }
}

// Float weights: lines of 16 values, one k each; acc = fma(w, x, acc) in ascending k.
struct FloatF32 {
  static constexpr int kIndex = 0, kLineBytes = 64;
  static SERVAL_INLINE F32 line(const uint8_t* w) {
    return load_f32(reinterpret_cast<const float*>(w));
  }
};
struct FloatF16 {
  static constexpr int kIndex = 1, kLineBytes = 32;
  static SERVAL_INLINE F32 line(const uint8_t* w) { return load_f16(w); }
};
struct FloatBf16 {
  static constexpr int kIndex = 2, kLineBytes = 32;
  static SERVAL_INLINE F32 line(const uint8_t* w) { return load_bf16(w); }
};

template <class Format, int kTokens, int kStride>
static SERVAL_NOINLINE void multiply_float_tile(const uint8_t* w, int k, const float* x,
                                                int run_stride, float* out) {
  const int stride = kStride != 0 ? kStride : run_stride;
  F32 acc[kTokens];
  SERVAL_UNROLL
  for (int t = 0; t < kTokens; ++t) acc[t] = zero_f32();
  for (int i = 0; i < k; ++i, w += Format::kLineBytes, x += stride) {
    const F32 line = Format::line(w);
    SERVAL_UNROLL
    for (int t = 0; t < kTokens; ++t) acc[t] = fma_broadcast(line, x + t, acc[t]);
  }
  SERVAL_UNROLL
  for (int t = 0; t < kTokens; ++t) store_f32(out + 16 * t, acc[t]);
}

// Calls `step` for the token groups of one tile: whole tiles at once where the registers suffice.
// Step::run<kTokens, kStride>(first token).
template <class Step>
static SERVAL_INLINE void for_token_groups(const Step& step, int nr) {
  if (kGroupTokens == 8) {
    switch (nr) {
      case 1:
        return step.template run<1, 1>(0);
      case 2:
        return step.template run<2, 2>(0);
      case 3:
        return step.template run<3, 3>(0);
      case 4:
        return step.template run<4, 4>(0);
      case 5:
        return step.template run<5, 5>(0);
      case 6:
        return step.template run<6, 6>(0);
      case 7:
        return step.template run<7, 7>(0);
      default:
        return step.template run<8, 8>(0);
    }
  }
  int t = 0;
  for (; t + 2 <= nr; t += 2) step.template run<2, 0>(t);
  if (t < nr) step.template run<1, 0>(t);
}

template <class Format, int kPanels>
struct TileStep {
  Panels to;
  int blocks;
  Operand a;
  int nr;
  bool resume;
  Ahead ahead;
  template <int kTokens, int kStride>
  SERVAL_INLINE void run(int t) const {
    if constexpr (kPanels == 1 || kTokens <= kBulkTile) {
      const Operand moved = {a.q + 4 * t, a.scale + t, a.spike + t, a.plane + 4 * t};
      const Panels part = {to.w, to.stride, to.out + 16 * t, to.out_stride};
      multiply_tile<Format, kPanels, kTokens, kStride>(part, blocks, moved, nr, resume,
                                                       t == 0 ? ahead : Ahead{nullptr, 0});
    }
  }
};

template <class Format>
struct FloatTileStep {
  const uint8_t* w;
  int k;
  const float* x;
  int nr;
  float* out;
  template <int kTokens, int kStride>
  SERVAL_INLINE void run(int t) const {
    multiply_float_tile<Format, kTokens, kStride>(w, k, x + t, nr, out + 16 * t);
  }
};

// Chunk `chunk` of the tile that begins at row `first`.
static SERVAL_INLINE Operand tile_operand(const PanelJob& job, int first, int nr, int chunk,
                                          int subs) {
  const ActivationLayout& layout = job.activations->layout;
  const uint8_t* base =
      job.activations->quantized + static_cast<size_t>(first) * layout.token_bytes;
  const size_t n = static_cast<size_t>(nr);
  const size_t c = static_cast<size_t>(chunk);
  Operand a;
  a.q = reinterpret_cast<const int8_t*>(base + 32 * c * n);
  a.scale = reinterpret_cast<const float*>(base + layout.scale_offset * n) + c * n;
  a.spike = reinterpret_cast<const int32_t*>(base + layout.spike_offset * n) + 4 * c * n;
  a.plane = job.plane < 0
                ? nullptr
                : base + layout.plane_offset[job.plane] * n + 4 * c * n * static_cast<size_t>(subs);
  return a;
}

static SERVAL_INLINE int tile_rows(const Activations& a, int first) {
  return a.rows - first < a.tile ? a.rows - first : a.tile;
}

static constexpr int kPrefetchDistance = 4096;

template <class Format>
static void multiply_in_registers(const PanelJob& job) {
  constexpr int kChunkBytes = Format::kBlockBytes / Format::kChunks;
  const int rows = job.activations->rows;
  const int blocks = job.activations->layout.k / (32 * Format::kChunks);
  for (int first = 0; first < rows; first += job.activations->tile) {
    const int nr = tile_rows(*job.activations, first);
    const Operand a = tile_operand(job, first, nr, 0, Format::kSubs);
    // The hardware alone follows the stream of one row of a simple format best. With more work per
    // byte, keep ahead of it; and while a panel is read again, fetch the next one.
    Ahead ahead = {nullptr, 0};
    if (rows > kTileTokens) {
      const bool last = first + nr >= rows;
      if (last)
        ahead = {job.panel + static_cast<int64_t>(blocks) * Format::kBlockBytes, kChunkBytes};
    } else if (rows > 2 || Format::kChunks > 1) {
      ahead = {job.panel + kPrefetchDistance, kChunkBytes};
    }
    const Panels to = {job.panel, 0, job.out + 16 * first, 0};
    for_token_groups(TileStep<Format, 1>{to, blocks, a, nr, false, ahead}, nr);
  }
}

template <class Format>
static SERVAL_NOINLINE void unpack_panel(const uint8_t* w, int chunks, uint8_t* out) {
  using To = UnpackedOf<Format>;
  for (int b = 0; b < chunks / Format::kChunks; ++b, w += Format::kBlockBytes) {
    for (int c = 0; c < Format::kChunks; ++c, out += To::kBlockBytes) {
      SERVAL_UNROLL
      for (int j = 0; j < 8; ++j) store_line(out + 64 * j, Format::line(w, c, j));
      SERVAL_UNROLL
      for (int sub = 0; sub < Format::kSubs; ++sub) {
        store_f32(reinterpret_cast<float*>(out + 512 + 64 * sub), Format::scale(w, c, sub));
        if (Format::kMin) {
          store_f32(reinterpret_cast<float*>(out + 512 + 64 * (Format::kSubs + sub)),
                    Format::min(w, c, sub));
        }
      }
    }
  }
}

// 2048 k of an unpacked panel and of one activation tile fit in a 48 KB cache.
static constexpr int kSliceChunks = 64;

template <class Format, int kPanels>
static void multiply_unpacked(const PanelJob& job) {
  constexpr int kChunkBytes = Format::kBlockBytes / Format::kChunks;
  using To = UnpackedOf<Format>;
  const int rows = job.activations->rows;
  const int chunks = job.activations->layout.k / 32;
  const size_t stride = static_cast<size_t>(chunks) * To::kBlockBytes;
  const uint8_t* last = kPanels == 1 ? job.panel : job.second;
  unpack_panel<Format>(job.panel, chunks, job.scratch);
  if (kPanels == 2) unpack_panel<Format>(job.second, chunks, job.scratch + stride);
  for (int c = 0; c < chunks; c += kSliceChunks) {
    const int count = chunks - c < kSliceChunks ? chunks - c : kSliceChunks;
    const uint8_t* w = job.scratch + static_cast<size_t>(c) * To::kBlockBytes;
    for (int first = 0; first < rows; first += job.activations->tile) {
      const int nr = tile_rows(*job.activations, first);
      const Operand a = tile_operand(job, first, nr, c, Format::kSubs);
      Ahead ahead = {nullptr, 0};  // the next panel, during the first tile
      if (first == 0) ahead = {last + kChunkBytes * static_cast<int64_t>(chunks + c), kChunkBytes};
      const Panels to = {w, stride, job.out + 16 * first, int64_t{16} * rows};
      for_token_groups(TileStep<To, kPanels>{to, count, a, nr, c > 0, ahead}, nr);
    }
  }
}

// Unpacking costs about as much as decoding once more per tile saves from the third tile on.
template <class Format>
static void multiply_panel(const PanelJob& job) {
  if (job.activations->rows <= kFewRows) {
    multiply_in_registers<Format>(job);
  } else {
    multiply_unpacked<Format, 1>(job);
  }
}

static SERVAL_INLINE PanelJob second_of(const PanelJob& job) {
  PanelJob second = job;
  second.panel = job.second;
  second.second = nullptr;
  second.out = job.out + int64_t{16} * job.activations->rows;
  return second;
}

template <class Format>
static void multiply(const PanelJob& job) {
  if constexpr (kGroupTokens >= kBulkTile) {
    if (job.second != nullptr && job.activations->rows > kFewRows) {
      return multiply_unpacked<Format, 2>(job);
    }
  }
  multiply_panel<Format>(job);
  if (job.second != nullptr) multiply_panel<Format>(second_of(job));
}

template <class Format>
static void multiply_float(const PanelJob& job) {
  const int k = job.activations->layout.k;
  for (int first = 0; first < job.activations->rows; first += job.activations->tile) {
    const int nr = tile_rows(*job.activations, first);
    const float* x = job.activations->raw + static_cast<size_t>(first) * static_cast<size_t>(k);
    for_token_groups(FloatTileStep<Format>{job.panel, k, x, nr, job.out + 16 * first}, nr);
  }
  if (job.second != nullptr) multiply_float<Format>(second_of(job));
}

// ---- one row of a panel as floats (embedding)

// As the format defines it in float32: product, then sum, each rounded.
template <class Format>
static void decode_row(const uint8_t* w, int k, int row, float* out) {
  alignas(64) uint8_t bytes[64];
  alignas(64) float scale[16];
  alignas(64) float min[16];
  for (int b = 0; b < k / (32 * Format::kChunks); ++b, w += Format::kBlockBytes) {
    for (int c = 0; c < Format::kChunks; ++c, out += 32) {
      SERVAL_UNROLL
      for (int j = 0; j < 8; ++j) {
        constexpr int kSubLines = 8 / Format::kSubs;
        if (j % kSubLines == 0) {
          store_f32(scale, Format::scale(w, c, j / kSubLines));
          store_f32(min, Format::min(w, c, j / kSubLines));
        }
        store_line(bytes, Format::line(w, c, j));
        for (int i = 0; i < 4; ++i) {
          const float q = static_cast<float>(bytes[4 * row + i] - Format::kZero);
          const float value = scale[row] * q;
          out[4 * j + i] = Format::kMin ? value + min[row] : value;
        }
      }
    }
  }
}

template <class Format>
static void decode_float_row(const uint8_t* w, int k, int row, float* out) {
  alignas(64) float line[16];
  for (int i = 0; i < k; ++i, w += Format::kLineBytes) {
    store_f32(line, Format::line(w));
    out[i] = line[row];
  }
}

// ---- activations

// One chunk: int8 values and, of the largest, the multiple of 128 that they leave over.
struct QuantizedChunk {
  alignas(64) int8_t bytes[32];
  float scale;
  int sums[2];  // of the 16-wide halves, the spike included
  int spike;    // multiple of kSpikeUnit
  int at;       // its place, 0..31
};

static SERVAL_INLINE void quantize_chunk(const float* x, QuantizedChunk& out) {
  F32 a = load_f32(x);
  F32 b = load_f32(x + 16);
  if (any_not_finite(a, b)) {
    // Whatever it is multiplied with becomes NaN too, so that the logits tell of it.
    out = QuantizedChunk{{}, __builtin_nanf(""), {}, 0, 0};
    return;
  }
  const F32 abs_a = abs(a);
  const F32 abs_b = abs(b);
  const float largest = reduce_max(max(abs_a, abs_b));
  const int in_a = first_equal(abs_a, largest);
  const int place = in_a < 16 ? in_a : 16 + (first_equal(abs_b, largest) & 15);
  const uint32_t bit = 1U << (place & 15);
  const F32 rest_a = place < 16 ? select_bits(bit, zero_f32(), a) : a;
  const F32 rest_b = place < 16 ? b : select_bits(bit, zero_f32(), b);
  const float second = reduce_max(max(abs(rest_a), abs(rest_b)));
  // Below this the reciprocal overflows; such a chunk is zero for any purpose.
  const bool tiny = largest < 1e-30F;
  const float by_rest = second * (1.0F / 127.0F);
  const float by_spike = largest * (1.0F / (127.0F * kSpikeUnit));
  out.scale = tiny ? 0.0F : by_rest > by_spike ? by_rest : by_spike;
  const float inverse = tiny ? 0.0F : 1.0F / out.scale;
  out.sums[0] = quantize_16(rest_a, inverse, out.bytes);
  out.sums[1] = quantize_16(rest_b, inverse, out.bytes + 16);
  const int value = round_to_int(x[place] * inverse);
  out.spike = (value + kSpikeUnit / 2) >> kSpikeShift;
  out.at = place;
  out.bytes[place] = static_cast<int8_t>(value - out.spike * kSpikeUnit);
  out.sums[place / 16] += value;
}

static void quantize(const float* x, const ActivationLayout& layout, uint8_t* tile, int nr, int t) {
  const size_t n = static_cast<size_t>(nr);
  int8_t* q = reinterpret_cast<int8_t*>(tile) + 4 * t;
  float* scales = reinterpret_cast<float*>(tile + layout.scale_offset * n) + t;
  int32_t* spikes = reinterpret_cast<int32_t*>(tile + layout.spike_offset * n) + t;
  QuantizedChunk chunk;
  for (int c = 0; c < layout.k / 32; ++c, x += 32) {
    quantize_chunk(x, chunk);
    for (int j = 0; j < 8; ++j) copy_4(q + 4 * nr * j, chunk.bytes + 4 * j);
    q += 32 * nr;
    scales[c * nr] = chunk.scale;
    const int32_t four =
        static_cast<int32_t>(static_cast<uint32_t>(chunk.spike & 0xFF) << (8 * (chunk.at % 4)));
    spikes[0] = 64 * (chunk.at / 4);
    spikes[nr] = four;
    spikes[2 * nr] = chunk.at < 16 ? four : 0;
    spikes[3 * nr] = chunk.at < 16 ? 0 : four;
    spikes += 4 * nr;
    for (int p = 0; p < layout.planes; ++p) {
      const PlaneSpec& spec = layout.plane[p];
      uint8_t* plane = tile + layout.plane_offset[p] * n;
      const int both = chunk.sums[0] + chunk.sums[1];
      for (int s = 0; s < spec.subs; ++s) {
        const int at = (c * spec.subs + s) * nr + t;
        const int sum = spec.subs == 1 ? both : chunk.sums[s];
        if (spec.min) {
          reinterpret_cast<float*>(plane)[at] = chunk.scale * static_cast<float>(sum);
        } else {
          reinterpret_cast<int32_t*>(plane)[at] = -spec.zero * sum;
        }
      }
    }
  }
}
