// K/V cache rows: how they are stored, and how the tiles of a block are read back as floats.
//
// A source is a K/V format, or kExpanded: floats that were already read back once because many
// queries share them. kExpanded K is laid out like an f32 tile, kExpanded V is a strip of 32
// columns.

static constexpr int kExpanded = 3;
static constexpr int kStripColumns = 32;

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
    int8_t* out = reinterpret_cast<int8_t*>(block) + 2 * token;
    uint16_t* scales = reinterpret_cast<uint16_t*>(block + kKvTile * head_dim) + token;
    alignas(64) int8_t bytes[32];
    for (int d = 0; d < head_dim; d += 32) {
      const int rest = head_dim - d < 32 ? head_dim - d : 32;
      scales[kKvTile * (d / 32)] = quantize_kv_group(k + d, rest, bytes);
      for (int i = 0; i < rest; ++i) out[(d + i) / 2 * 2 * kKvTile + i % 2] = bytes[i];
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
    int8_t* out = reinterpret_cast<int8_t*>(block) + token / 2 * 2 * head_dim + token % 2;
    uint16_t* scales = reinterpret_cast<uint16_t*>(block + kKvTile * head_dim) + token;
    alignas(64) int8_t bytes[32];
    for (int d = 0; d < head_dim; d += 32) {
      const int rest = head_dim - d < 32 ? head_dim - d : 32;
      scales[kKvTile * (d / 32)] = quantize_kv_group(v + d, rest, bytes);
      for (int i = 0; i < rest; ++i) out[2 * (d + i)] = bytes[i];
    }
  }
}

// ---- reading back

template <int kSource>
static constexpr int element_bytes() {
  return kSource == kKvF16 ? 2 : 4;
}

// 16 neighbouring elements.
template <int kSource>
static SERVAL_INLINE F32 load_elements(const uint8_t* p) {
  if constexpr (kSource == kKvF16) return load_f16(p);
  return load_f32(reinterpret_cast<const float*>(p));
}

// K [head_dim][32] of one head as floats.
template <int kSource>
static SERVAL_NOINLINE void expand_k(const uint8_t* block, int head_dim, float* out) {
  const int n = head_dim * kKvTile;
  for (int i = 0; i < n; i += 16) {
    store_f32(out + i, load_elements<kSource>(block + element_bytes<kSource>() * i));
  }
}

// Columns [column, column + 32) of tokens [first, end) of V, as floats [token][32]; zeros beyond
// the head.
template <int kSource>
static SERVAL_NOINLINE void expand_v(const uint8_t* block, int head_dim, int column, int first,
                                     int end, float* out) {
  constexpr int kSize = element_bytes<kSource>();
  alignas(64) uint8_t part[64];
  for (int t = first; t < end; ++t) {
    for (int d = column; d < column + kStripColumns && d < head_dim; d += 16) {
      const uint8_t* in = block + kSize * (t * head_dim + d);
      if (head_dim - d < 16) {
        for (int i = 0; i < 64; ++i) part[i] = i < kSize * (head_dim - d) ? in[i] : 0;
        in = part;
      }
      store_f32(out + kStripColumns * t + d - column, load_elements<kSource>(in));
    }
  }
}
