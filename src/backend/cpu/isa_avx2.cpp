#include "backend/cpu/kernel_table.h"
namespace serval::cpu {
const KernelTable* avx2_kernels() { return nullptr; }
}  // namespace serval::cpu
