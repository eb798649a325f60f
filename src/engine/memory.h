// How much memory this process may use: the machine's, or less where a container limits it.
#pragma once

#include <cstdint>

namespace serval {

struct MachineMemory {
  uint64_t total = 0;      // bytes; 0: unknown
  uint64_t available = 0;  // without swapping; 0: unknown
};
MachineMemory machine_memory();

}  // namespace serval
