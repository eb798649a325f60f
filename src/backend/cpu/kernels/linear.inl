// One weight panel times all rows of a step.
//
// Every output is one float accumulator to which the chunks are added in ascending k:
//   isum = exact integer dot product of 32 (or twice 16) weight bytes and activations,
//   t    = float(isum) * scale                     (two halves: fma(float(isum1), scale1, t0)),
//   acc  = fma(t, activation scale, acc), then acc = fma(min, activation sum, acc) if the format
//          has minimums;
// and after the last chunk the row's spikes, in ascending k as well:
//   isum = weight byte less zero, times the spike; acc = fma(float(isum) * scale, unit, acc).
// The three ways below (few rows: decode in registers; many rows: unpack the panel once; long rows:
// walk k in slices that stay in the first-level cache) perform exactly these operations per output,
// so a row's result does not depend on which of them ran.
//
// The limit is the dot product unit, which also multiplies floats: of each chunk's 8 + 2 operations
// (8 + 3 with minimums) per 16 outputs, 8 are products.

struct Operand {
  const int8_t* q;
  const float* scale;
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

// Memory to prefetch while multiplying: `chunk_bytes` from `at` (null: nothing) on for every chunk
// done. `one_row`: there is nothing but one row, so the kernel waits for memory and may be held
// back.
struct Ahead {
  const uint8_t* at;
  int chunk_bytes;
  bool one_row = false;
  SERVAL_INLINE void fetch() {
    for (int i = 0; i < chunk_bytes; i += 64) __builtin_prefetch(at + i, 0, 2);
    at += chunk_bytes;
  }
};

// Held back after every line instead of every chunk: a format with many lines for its work, whose
// loads would else all come first (docs/kernels.md).
template <class Format>
static constexpr bool kPaceByLine = false;
template <>
constexpr bool kPaceByLine<Q6_K> = true;

// With one panel the broadcast is part of the instruction; two share it in a register, as loads
// and not dot products would be the limit.
template <int kPanels, int kMost, int kLines>
static SERVAL_INLINE void dot_panels(int line, const DotWeights<kMost>* weights, const int8_t* a,
                                     DotSum<kMost, kLines>* sum) {
  if constexpr (kPanels == 1) {
    sum[0].add(line, weights[0], a);
  } else {
    const I32 four = broadcast_i32(reinterpret_cast<const uint8_t*>(a));
    SERVAL_UNROLL
    for (int p = 0; p < kPanels; ++p) sum[p].add(line, weights[p], four);
  }
}

// `kTokens` of the tile, which stores `stride` of them side by side. kStride 0: known at run time
// only.
template <class Format, int kPanels, int kTokens, int kStride>
static SERVAL_NOINLINE void multiply_tile(Panels to, int blocks, Operand a, int run_stride,
                                          bool resume, Ahead ahead) {
  using Weights = DotWeights<Format::kMost>;
  const int stride = kStride != 0 ? kStride : run_stride;
  constexpr int kSubLines = 8 / Format::kSubs;
  using Sum = DotSum<Format::kMost, kSubLines>;
  constexpr bool kZero = effective_zero<Format>() != 0;
  const uint8_t* w = to.w;
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
      F32 term[kTokens][kPanels];
      SERVAL_UNROLL
      for (int sub = 0; sub < Format::kSubs; ++sub) {
        Sum sum[kTokens][kPanels];
        SERVAL_UNROLL
        for (int t = 0; t < kTokens; ++t) {
          const Sum first(kZero ? a.plane + 4 * (sub * stride + t) : nullptr);
          SERVAL_UNROLL
          for (int p = 0; p < kPanels; ++p) sum[t][p] = first;
        }
        SERVAL_UNROLL
        for (int i = 0; i < kSubLines; ++i) {
          // Lines that share a nibble source follow each other.
          const int j = Format::kSubs == 1 ? (i % 2) * 4 + i / 2 : sub * kSubLines + i;
          Weights weights[kPanels];
          SERVAL_UNROLL
          for (int p = 0; p < kPanels; ++p) {
            weights[p] = Weights(
                Format::template line<kTokens>(w + static_cast<size_t>(p) * to.stride, c, j));
          }
          SERVAL_UNROLL
          for (int t = 0; t < kTokens; ++t) {
            dot_panels<kPanels>(i, weights, a.q + 4 * (j * stride + t), sum[t]);
          }
          if (kTokens == 1 && kPaceByLine<Format> && ahead.one_row) pace<12>();
        }
        SERVAL_UNROLL
        for (int p = 0; p < kPanels; ++p) {
          const F32 scale = Format::scale(w + static_cast<size_t>(p) * to.stride, c, sub);
          SERVAL_UNROLL
          for (int t = 0; t < kTokens; ++t) {
            const F32 value = to_f32(sum[t][p].total());
            term[t][p] = sub == 0 ? mul(value, scale) : fma(value, scale, term[t][p]);
          }
        }
      }
      SERVAL_UNROLL
      for (int t = 0; t < kTokens; ++t) {
        SERVAL_UNROLL
        for (int p = 0; p < kPanels; ++p) {
          acc[t][p] = fma(term[t][p], set1(a.scale[t]), acc[t][p]);
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
            const float sum = reinterpret_cast<const float*>(a.plane)[sub * stride + t];
            acc[t][p] = fma(min, set1(sum), acc[t][p]);
          }
        }
      }
      a.q += 32 * stride;
      a.scale += stride;
      if (Format::kMin || kZero) a.plane += 4 * Format::kSubs * stride;
      if (ahead.at != nullptr) ahead.fetch();
      if (kTokens == 1 && !kPaceByLine<Format> && ahead.one_row) pace<60>();
    }
  }
  SERVAL_UNROLL
  for (int t = 0; t < kTokens; ++t) {
    SERVAL_UNROLL
    for (int p = 0; p < kPanels; ++p) store_f32(to.out + p * to.out_stride + 16 * t, acc[t][p]);
  }
}

// The spikes of the `nr` rows of a tile that begins at row `first`, to outputs that hold all else.
// `zero`: effective_zero of the format that the panels were packed in.
template <class Format, int kPanels>
static SERVAL_NOINLINE void add_spikes(Panels to, const Activations& of, int first, int nr,
                                       int zero) {
  const ActivationLayout& layout = of.layout;
  const int most = layout.k / 32;
  const size_t n = static_cast<size_t>(nr);
  const uint8_t* base = of.quantized + static_cast<size_t>(first) * layout.token_bytes;
  const int32_t* counts = reinterpret_cast<const int32_t*>(base + layout.count_offset * n);
  const Spike* spikes = reinterpret_cast<const Spike*>(base + layout.spike_offset * n);
  for (int t = 0; t < nr; ++t, spikes += most, to.out += 16) {
    if (counts[t] == 0) continue;
    F32 acc[kPanels];
    SERVAL_UNROLL
    for (int p = 0; p < kPanels; ++p) acc[p] = load_f32(to.out + p * to.out_stride);
    for (const Spike* s = spikes; s != spikes + counts[t]; ++s) {
      const int chunk = s->line / 8;
      const int line = s->line % 8;
      const int c = chunk % Format::kChunks;
      const int32_t start = -zero * s->value;
      const uint8_t* w = to.w + static_cast<size_t>(chunk / Format::kChunks) * Format::kBlockBytes;
      SERVAL_UNROLL
      for (int p = 0; p < kPanels; ++p, w += to.stride) {
        DotSum<Format::kMost, 1> sum(reinterpret_cast<const uint8_t*>(&start));
        sum.add(0, DotWeights<Format::kMost>(Format::template line<kTileTokens>(w, c, line)),
                reinterpret_cast<const int8_t*>(&s->four));
        const F32 scale = Format::scale(w, c, line / (8 / Format::kSubs));
        acc[p] = fma(mul(to_f32(sum.total()), scale), set1(s->unit), acc[p]);
      }
    }
    SERVAL_UNROLL
    for (int p = 0; p < kPanels; ++p) store_f32(to.out + p * to.out_stride, acc[p]);
  }
}

// Calls `step` for the token groups of one tile: whole tiles at once where the registers suffice.
// Step::run<kTokens, kStride>(first token).
template <class Step>
static SERVAL_INLINE void for_token_groups(const Step& step, int nr) {
  if constexpr (kGroupTokens == 8) {
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
  if constexpr (kGroupTokens == 4) {
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
        step.template run<3, 0>(0);
        return step.template run<2, 0>(3);
      case 6:
        step.template run<3, 0>(0);
        return step.template run<3, 0>(3);
      case 7:
        step.template run<4, 0>(0);
        return step.template run<3, 0>(4);
      default:
        step.template run<4, 8>(0);
        return step.template run<4, 8>(4);
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
      const Operand moved = {a.q + 4 * t, a.scale + t, a.plane + 4 * t};
      const Panels part = {to.w, to.stride, to.out + 16 * t, to.out_stride};
      multiply_tile<Format, kPanels, kTokens, kStride>(part, blocks, moved, nr, resume,
                                                       t == 0 ? ahead : Ahead{nullptr, 0});
    }
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
  a.plane = job.plane < 0
                ? nullptr
                : base + layout.plane_offset[job.plane] * n + 4 * c * n * static_cast<size_t>(subs);
  return a;
}

static SERVAL_INLINE int tile_rows(const Activations& a, int first) {
  return a.rows - first < a.tile ? a.rows - first : a.tile;
}

// Nearer than this, the hardware's own stream and these get in each other's way (docs/kernels.md).
static constexpr int kPrefetchDistance = 8192;

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
    Ahead ahead = {nullptr, 0, rows == 1};
    if (rows > kTileTokens) {
      const bool last = first + nr >= rows;
      if (last)
        ahead = {job.panel + static_cast<int64_t>(blocks) * Format::kBlockBytes, kChunkBytes};
    } else if (rows > 2 || Format::kChunks > 1) {
      ahead.at = job.panel + kPrefetchDistance;
      ahead.chunk_bytes = kChunkBytes;
    }
    const Panels to = {job.panel, 0, job.out + 16 * first, 0};
    for_token_groups(TileStep<Format, 1>{to, blocks, a, nr, false, ahead}, nr);
    add_spikes<Format, 1>(to, *job.activations, first, nr, effective_zero<Format>());
  }
}

template <class Format>
static SERVAL_NOINLINE void unpack_panel(const uint8_t* w, int chunks, uint8_t* out) {
  using To = UnpackedOf<Format>;
  for (int b = 0; b < chunks / Format::kChunks; ++b, w += Format::kBlockBytes) {
    for (int c = 0; c < Format::kChunks; ++c, out += To::kBlockBytes) {
      SERVAL_UNROLL
      for (int j = 0; j < 8; ++j)
        store_line(out + 64 * j, Format::template line<kTileTokens>(w, c, j));
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
  for (int first = 0; first < rows; first += job.activations->tile) {
    const Panels to = {job.scratch, stride, job.out + 16 * first, int64_t{16} * rows};
    add_spikes<To, kPanels>(to, *job.activations, first, tile_rows(*job.activations, first),
                            effective_zero<Format>());
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
        store_line(bytes, Format::template line<kTileTokens>(w, c, j));
        for (int i = 0; i < 4; ++i) {
          const float q = static_cast<float>(bytes[4 * row + i] - Format::kZero);
          const float value = scale[row] * q;
          out[4 * j + i] = Format::kMin ? value + min[row] : value;
        }
      }
    }
  }
}
