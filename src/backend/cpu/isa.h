// Chooses the kernel set for this processor.
#pragma once

#include <string_view>

#include "backend/cpu/kernel_table.h"

namespace serval::cpu {

// `name`: "avx512bf16", "avx512", "avx2", "portable", or "" for the best one. The environment
// variable SERVAL_FORCE_ISA overrides "". Throws Error(kInvalidArgument) for an unknown name and
// Error(kUnsupported) when this processor cannot run the set.
const KernelTable& choose_kernels(std::string_view name);

}  // namespace serval::cpu
