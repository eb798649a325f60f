// Float weights times unquantised activations.

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

template <class Format>
static void decode_float_row(const uint8_t* w, int k, int row, float* out) {
  alignas(64) float line[16];
  for (int i = 0; i < k; ++i, w += Format::kLineBytes) {
    store_f32(line, Format::line(w));
    out[i] = line[row];
  }
}
