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

// ---- reading back

template <int kSource>
static constexpr int element_bytes() {
  return kSource == kKvF16 ? 2 : kSource == kKvQ8 ? 1 : 4;
}

// 16 neighbouring elements; q8 without their scale.
template <int kSource>
static SERVAL_INLINE F32 load_elements(const uint8_t* p) {
  if constexpr (kSource == kKvF16) return load_f16(p);
  if constexpr (kSource == kKvQ8) return to_f32(load_i8_i32(p));
  return load_f32(reinterpret_cast<const float*>(p));
}

// K [head_dim][32] of one head as floats.
template <int kSource>
static SERVAL_NOINLINE void expand_k(const uint8_t* block, int head_dim, float* out) {
  const int n = head_dim * kKvTile;
  F32 scale[2] = {set1(1.0F), set1(1.0F)};
  for (int i = 0; i < n; i += kKvTile) {
    if (kSource == kKvQ8 && i % (32 * kKvTile) == 0) {
      const uint8_t* scales = block + n + 2 * (i / 32);
      scale[0] = load_f16(scales);
      scale[1] = load_f16(scales + 32);
    }
    for (int j = 0; j < 2; ++j) {
      F32 k = load_elements<kSource>(block + element_bytes<kSource>() * (i + 16 * j));
      if (kSource == kKvQ8) k = mul(k, scale[j]);
      store_f32(out + i + 16 * j, k);
    }
  }
}

// Columns [column, column + 32) of tokens [first, end) of V, as floats [token][32]; zeros beyond
// the head.
template <int kSource>
static SERVAL_NOINLINE void expand_v(const uint8_t* block, int head_dim, int column, int first,
                                     int end, float* out) {
  constexpr int kSize = element_bytes<kSource>();
  const int groups = kv_groups(head_dim);
  alignas(64) uint8_t part[64];
  for (int t = first; t < end; ++t) {
    const uint8_t* scale = block + kKvTile * head_dim + 2 * (t * groups + column / 32);
    for (int d = column; d < column + kStripColumns && d < head_dim; d += 16) {
      const uint8_t* in = block + kSize * (t * head_dim + d);
      if (head_dim - d < 16) {
        for (int i = 0; i < 64; ++i) part[i] = i < kSize * (head_dim - d) ? in[i] : 0;
        in = part;
      }
      F32 value = load_elements<kSource>(in);
      if (kSource == kKvQ8) value = mul(value, set1(f16_value(scale)));
      store_f32(out + kStripColumns * t + d - column, value);
    }
  }
}
