#include "backend/cpu/kernel_table.h"
namespace serval::cpu {
const KernelTable* portable_kernels() { return nullptr; }
}  // namespace serval::cpu
