// Small pieces written on the vector vocabulary that more than one kernel file uses.

static SERVAL_INLINE void copy_4(int8_t* to, const int8_t* from) { __builtin_memcpy(to, from, 4); }

// One q8 group of the K/V cache: bytes, and the bits of the f16 scale that the bytes were rounded
// with.
static uint16_t quantize_kv_group(const float* x, int count, int8_t* out) {
  alignas(64) float values[32] = {};
  for (int i = 0; i < count; ++i) values[i] = x[i];
  const F32 a = load_f32(values);
  const F32 b = load_f32(values + 16);
  if (any_not_finite(a, b)) {
    for (int i = 0; i < 32; ++i) out[i] = 0;
    return 0x7E00;  // NaN
  }
  float scale = reduce_max(max(abs(a), abs(b))) / 127.0F;
  // Above 65504 the scale would be infinite; the rounded scale keeps |q| <= 127 up to one step.
  if (scale > 60000.0F) scale = 60000.0F;
  const uint16_t bits = f16_bits(scale);
  const float stored = f16_value(reinterpret_cast<const uint8_t*>(&bits));
  const float inverse = stored > 0.0F ? 1.0F / stored : 0.0F;
  const F32 limit = set1(127.0F * stored);
  quantize_16(min(max(a, negate(limit)), limit), inverse, out);
  quantize_16(min(max(b, negate(limit)), limit), inverse, out + 16);
  return bits;
}

// The last, partial vector of a row goes through memory.
static SERVAL_INLINE F32 load_some(const float* x, int count) {
  alignas(64) float v[16] = {};
  for (int i = 0; i < count; ++i) v[i] = x[i];
  return load_f32(v);
}
static SERVAL_INLINE void store_some(float* x, int count, F32 value) {
  alignas(64) float v[16];
  store_f32(v, value);
  for (int i = 0; i < count; ++i) x[i] = v[i];
}
