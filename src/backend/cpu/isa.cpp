// The list of kernel sets, best first. Compiled without machine flags, so it runs anywhere.
#include "backend/cpu/isa.h"

#include <cpuid.h>

#include <cstdlib>
#include <string>

#include "serval/error.h"

namespace serval::cpu {
namespace {

bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vnni");
}

// Bit 5 of EAX in subleaf 1 of CPUID leaf 7; clang 14's __builtin_cpu_supports does not know it.
bool has_avx512bf16() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return has_avx512() && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 &&
         (eax & (1U << 5)) != 0;
}

// clang 14's __builtin_cpu_supports does not know F16C: bit 29 of ECX in CPUID leaf 1.
bool has_f16c() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
}

bool has_any() { return true; }

struct Isa {
  std::string_view name;
  const KernelTable* (*table)();
  bool (*usable)();
};

constexpr Isa kIsas[] = {
    {"avx512bf16", avx512bf16_kernels, has_avx512bf16},
    {"avx512", avx512_kernels, has_avx512},
    {"avx2", avx2_kernels, has_avx2},
    {"portable", portable_kernels, has_any},
};

}  // namespace

const KernelTable& choose_kernels(std::string_view name) {
  if (name.empty()) {
    if (const char* forced = std::getenv("SERVAL_FORCE_ISA")) name = forced;
  }
  __builtin_cpu_init();
  std::string names;
  for (const Isa& isa : kIsas) {
    names += (names.empty() ? "" : ", ") + std::string(isa.name);
    if (!name.empty() && name != isa.name) continue;
    const KernelTable* table = isa.table();
    if (table != nullptr && isa.usable()) return *table;
    if (!name.empty()) {
      throw Error(ErrorCode::kUnsupported, "kernel set \"" + std::string(name) +
                                               "\" cannot run on this processor; leave the choice "
                                               "to Serval or use \"portable\"");
    }
  }
  throw Error(ErrorCode::kInvalidArgument,
              "no kernel set is called \"" + std::string(name) + "\"; known: " + names);
}

size_t panel_scratch_bytes(int k) {
  const size_t unpacked = (static_cast<size_t>(k) / 32 + 1) * (512 + 4 * 64);
  const size_t floats = size_t{64} * kFloatSegment;
  return 2 * (unpacked > floats ? unpacked : floats);
}

size_t pair_bytes(const ActivationLayout& layout) {
  return (static_cast<size_t>(layout.k) + 1) / 2 * 4;
}

size_t attention_partial_floats(int head_dim) {
  return 16 + (static_cast<size_t>(head_dim) + 15) / 16 * 16;
}

size_t attention_scratch_floats(int queries, int head_dim) {
  const size_t padded = (static_cast<size_t>(head_dim) + 15) / 16 * 16;
  const size_t slots = (static_cast<size_t>(queries) + 7) / 8 * 8;
  const size_t scores = kKvSegment + 16;
  const size_t per_query = 2 * padded + attention_partial_floats(head_dim) + scores + 2;
  return slots * per_query + kKvTile * padded + kKvSegment * 32;
}

}  // namespace serval::cpu
