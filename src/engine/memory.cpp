// /proc/meminfo (proc(5)) and the limits of control groups version 2
// (https://docs.kernel.org/admin-guide/cgroup-v2.html, memory.max and memory.current) or version 1.
#include "engine/memory.h"

#include <algorithm>
#include <fstream>
#include <optional>
#include <string>

namespace serval {
namespace {

std::optional<uint64_t> read_number(const char* path) {
  std::ifstream file(path);
  uint64_t value = 0;
  if (file >> value) return value;  // "max" is no number: unlimited
  return std::nullopt;
}

uint64_t meminfo(const std::string& key) {
  std::ifstream file("/proc/meminfo");
  std::string line;
  while (std::getline(file, line)) {
    if (line.rfind(key + ":", 0) == 0) {
      return std::strtoull(line.c_str() + key.size() + 1, nullptr, 10) * 1024;
    }
  }
  return 0;
}

}  // namespace

MachineMemory machine_memory() {
  MachineMemory memory{meminfo("MemTotal"), meminfo("MemAvailable")};
  for (const auto& [limit_path, used_path] :
       {std::pair{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"},
        std::pair{"/sys/fs/cgroup/memory/memory.limit_in_bytes",
                  "/sys/fs/cgroup/memory/memory.usage_in_bytes"}}) {
    const auto limit = read_number(limit_path);
    if (!limit || *limit >= memory.total) continue;
    memory.total = *limit;
    const uint64_t used = std::min(read_number(used_path).value_or(0), *limit);
    // Page cache counts as used there, although it yields; never report less than an eighth.
    memory.available = std::min(memory.available, std::max(*limit - used, *limit / 8));
  }
  return memory;
}

}  // namespace serval
