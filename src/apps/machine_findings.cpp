#include "apps/machine_findings.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>

#include "apps/terminal.h"

namespace serval {
namespace {

namespace fs = std::filesystem;

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// The value of the first line "key<separators>: value".
std::string field(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key)) continue;
    const size_t colon = line.find(':');
    const size_t begin = line.find_first_not_of(" \t", colon + 1);
    if (colon != std::string::npos && begin != std::string::npos) return line.substr(begin);
  }
  return "";
}

std::optional<uint64_t> kilobytes(const std::string& key) {
  std::istringstream text(field("/proc/meminfo", key));
  uint64_t value = 0;
  if (!(text >> value)) return std::nullopt;
  return value * 1024;
}

Finding processor() {
  return {"processor",
          fmt::format("{}, {} usable threads", field("/proc/cpuinfo", "model name"),
                      ::sysconf(_SC_NPROCESSORS_ONLN)),
          ""};
}

Finding instructions() {
  const std::string all = " " + field("/proc/cpuinfo", "flags") + " ";
  std::string found;
  for (const char* flag : {"avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512vl",
                           "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16"}) {
    if (all.find(fmt::format(" {} ", flag)) != std::string::npos) found += fmt::format("{} ", flag);
  }
  if (!found.empty()) found.pop_back();
  const bool fast = found.find("avx2") != std::string::npos;
  return {"instructions", found.empty() ? "none of the faster sets" : found,
          fast ? "" : "without AVX2 only the slow portable kernels run"};
}

Finding caches() {
  std::string text;
  for (int i = 0; i < 8; ++i) {
    const std::string base = fmt::format("/sys/devices/system/cpu/cpu0/cache/index{}/", i);
    const std::string level = first_line(base + "level");
    if (level.empty()) break;
    if (first_line(base + "type") == "Instruction") continue;
    text += fmt::format("{}L{} {}", text.empty() ? "" : ", ", level, first_line(base + "size"));
  }
  return {"caches", text.empty() ? "not told by the system" : text, ""};
}

Finding huge_pages() {
  const std::string mode = first_line("/sys/kernel/mm/transparent_hugepage/enabled");
  const bool off = mode.find("[never]") != std::string::npos;
  return {
      "huge pages", mode.empty() ? "not told by the system" : mode,
      off ? "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled makes large models faster"
          : ""};
}

Finding memory() {
  const uint64_t total = kilobytes("MemTotal").value_or(0);
  const uint64_t available = kilobytes("MemAvailable").value_or(0);
  std::string value =
      fmt::format("{} of {} available", format_bytes(available), format_bytes(total));
  const std::string limit = first_line("/sys/fs/cgroup/memory.max");
  if (!limit.empty() && limit != "max")
    value += ", limited to " + limit + " bytes by the control group";
  return {"memory", value,
          available < (uint64_t{1} << 30) ? "less than 1 GB is free; small models only" : ""};
}

Finding processor_share() {
  const std::string quota = first_line("/sys/fs/cgroup/cpu.max");
  std::istringstream text(quota);
  double allowed = 0;
  double period = 0;
  if (!(text >> allowed >> period) || period <= 0) return {"cpu limit", "none", ""};
  const double cores = allowed / period;
  const bool short_of = cores + 0.01 < static_cast<double>(::sysconf(_SC_NPROCESSORS_ONLN));
  return {"cpu limit", fmt::format("{:.1f} cores by the control group", cores),
          short_of ? fmt::format("use -t {}", std::max(1, static_cast<int>(cores))) : ""};
}

Finding frequency() {
  const std::string governor = first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
  return {"governor", governor.empty() ? "not told by the system" : governor,
          governor == "powersave" ? "the performance governor keeps the clock up" : ""};
}

Finding gpus() {
  std::error_code error;
  const bool nvidia = fs::exists("/dev/nvidia0", error) || fs::exists("/dev/nvidiactl", error);
  const bool amd = fs::exists("/dev/kfd", error);
  if (!nvidia && !amd) return {"gpu", "none", ""};
  return {"gpu", nvidia ? "NVIDIA" : "AMD", "this build has no GPU backend: models run on the CPU"};
}

}  // namespace

std::vector<Finding> machine_findings() {
  return {processor(), instructions(),    caches(),    huge_pages(),
          memory(),    processor_share(), frequency(), gpus()};
}

}  // namespace serval
