// AVX-512 with VNNI (F, BW, DQ, VL, VNNI); the vectors are drawn in kernels/avx512_vectors.inl.

#include "backend/cpu/kernel_table.h"

#if defined(__AVX512VNNI__)
#include <immintrin.h>

#include "backend/cpu/kernels/attributes.inl"

namespace serval::cpu {
namespace avx512 {

static constexpr const char* kTableName = "avx512-vnni";
static constexpr const char* kNumericsId = "cpu-avx512-3";

// clang-format off
#include "backend/cpu/kernels/avx512_vectors.inl"
#include "backend/cpu/kernels/kernels.inl"
#include "backend/cpu/kernels/avx512_probes.inl"
// clang-format on

static constexpr double (*kBf16Macs)(int64_t) = nullptr;

#include "backend/cpu/kernels/table.inl"

}  // namespace avx512

const KernelTable* avx512_kernels() { return &avx512::kTable; }

}  // namespace serval::cpu

#else

namespace serval::cpu {
const KernelTable* avx512_kernels() { return nullptr; }
}  // namespace serval::cpu

#endif
