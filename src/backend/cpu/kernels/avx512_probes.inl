// The probes of every kernel set built on AVX-512.

static uint64_t read_memory(const uint8_t* data, size_t bytes) {
  __m512i v[8];
  SERVAL_UNROLL
  for (int i = 0; i < 8; ++i) v[i] = _mm512_setzero_si512();
  for (size_t at = 0; at + 512 <= bytes; at += 512) {
    SERVAL_UNROLL
    for (int i = 0; i < 8; ++i) {
      v[i] = _mm512_or_si512(v[i], _mm512_loadu_si512(data + at + 64 * static_cast<size_t>(i)));
    }
  }
  SERVAL_UNROLL
  for (int i = 1; i < 8; ++i) v[0] = _mm512_or_si512(v[0], v[i]);
  return static_cast<uint64_t>(_mm512_reduce_or_epi64(v[0]));
}

static double dot_macs(int64_t repeats) {
  alignas(64) static const int8_t operand[64] = {1};
  DotSum<255, 1> sum[16];
  SERVAL_UNROLL
  for (int i = 0; i < 16; ++i) sum[i] = DotSum<255, 1>(nullptr);
  const DotWeights<255> w(_mm512_set1_epi8(1));
  for (int64_t r = 0; r < repeats; ++r) {
    SERVAL_UNROLL
    for (int i = 0; i < 16; ++i) sum[i].add(i, w, operand + 4 * i);
  }
  SERVAL_UNROLL
  for (int i = 0; i < 16; ++i) asm volatile("" ::"v"(sum[i].sum));
  return static_cast<double>(repeats) * 16.0 * 64.0;
}

static double fma_macs(int64_t repeats) {
  alignas(64) static const float operand[16] = {};
  F32 sum[16];
  SERVAL_UNROLL
  for (int i = 0; i < 16; ++i) sum[i] = zero_f32();
  const F32 ones = set1(1.0F);
  for (int64_t r = 0; r < repeats; ++r) {
    SERVAL_UNROLL
    for (int i = 0; i < 16; ++i) {
      asm("vfmadd231ps %2%{1to16%}, %1, %0" : "+v"(sum[i]) : "v"(ones), "m"(operand[i]));
    }
  }
  SERVAL_UNROLL
  for (int i = 0; i < 16; ++i) asm volatile("" ::"v"(sum[i]));
  return static_cast<double>(repeats) * 16.0 * 16.0;
}
