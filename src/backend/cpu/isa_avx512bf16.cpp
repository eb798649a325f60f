// AVX-512 with VNNI and BF16: bfloat16 weights multiply bfloat16 activations, two k an instruction
// (docs/adr/0003-bf16-activations.md). All else as in isa_avx512.cpp.

#include "backend/cpu/kernel_table.h"

#if defined(__AVX512BF16__)
#include <immintrin.h>

#include "backend/cpu/kernels/attributes.inl"

namespace serval::cpu {
namespace avx512bf16 {

static constexpr const char* kTableName = "avx512-bf16";
static constexpr const char* kNumericsId = "cpu-avx512-bf16-3";

#include "backend/cpu/kernels/avx512_vectors.inl"

// ---- 16 pairs of bfloat16

// sum[row] += dot of the row's pair with the pair at `x`.
static SERVAL_INLINE F32 dot_bf16_broadcast(U8 line, const uint32_t* x, F32 sum) {
  return _mm512_dpbf16_ps(sum, (__m512bh)line, (__m512bh)_mm512_set1_epi32(static_cast<int>(*x)));
}
// 16 halves as the first of pairs whose second is zero.
static SERVAL_INLINE U8 load_u16_line(const uint8_t* p) {
  return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
// 32 floats, rounded to nearest even.
static SERVAL_INLINE void store_bf16_pairs(uint32_t* p, F32 low, F32 high) {
  _mm512_storeu_si512(p, (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

#define SERVAL_BF16_DOTS
// clang-format off
#include "backend/cpu/kernels/kernels.inl"
#include "backend/cpu/kernels/avx512_probes.inl"
// clang-format on

// Multiply-adds done by `repeats` times 16 independent dot products.
static double bf16_macs(int64_t repeats) {
  alignas(64) static const uint32_t operand[16] = {};
  F32 sum[16];
  SERVAL_UNROLL
  for (int i = 0; i < 16; ++i) sum[i] = zero_f32();
  const U8 line = set1_i32(0x3F803F80);
  for (int64_t r = 0; r < repeats; ++r) {
    SERVAL_UNROLL
    for (int i = 0; i < 16; ++i) {
      asm("vdpbf16ps %2%{1to16%}, %1, %0" : "+v"(sum[i]) : "v"(line), "m"(operand[i]));
    }
  }
  SERVAL_UNROLL
  for (int i = 0; i < 16; ++i) asm volatile("" ::"v"(sum[i]));
  return static_cast<double>(repeats) * 16.0 * 32.0;
}
static constexpr auto kBf16Macs = bf16_macs;

#include "backend/cpu/kernels/table.inl"

}  // namespace avx512bf16

const KernelTable* avx512bf16_kernels() { return &avx512bf16::kTable; }

}  // namespace serval::cpu

#else

namespace serval::cpu {
const KernelTable* avx512bf16_kernels() { return nullptr; }
}  // namespace serval::cpu

#endif
