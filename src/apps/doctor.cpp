// serval doctor: what this machine offers, what the program makes of it, and what could be better.
#include <fmt/format.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <boost/version.hpp>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <sstream>

#include "apps/command.h"
#include "apps/environment.h"
#include "apps/json_text.h"
#include "apps/options.h"
#include "apps/terminal.h"
#include "backend/backend.h"
#include "backend/cpu/probe.h"
#include "store/catalogue.h"
#include "store/model_folder.h"
#include "store/pull.h"

namespace serval {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

struct Finding {
  std::string name, value, advice;  // advice: empty when all is well
};

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
  const bool fast = found.find("avx2") != std::string::npos;
  return {"instructions", found.empty() ? "none of the faster sets" : found,
          fast ? "" : "without AVX2 only the slow portable kernels run"};
}

Finding kernels(int threads) {
  BackendOptions options;
  options.threads = threads;
  options.isa = forced_isa();
  const std::unique_ptr<Backend> backend = create_backend("cpu", options);
  const BackendInfo& info = backend->info();
  return {"kernels",
          fmt::format("{}, {} threads, numerics {}", info.kernels, info.threads, info.numerics_id),
          info.kernels == "portable" ? "portable kernels are many times slower" : ""};
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

Finding bandwidth(int threads) {
  return {"read bandwidth", fmt::format("{:.1f} GB/s", measure_read_bandwidth(threads)), ""};
}
Finding dot_rate(int threads) {
  return {"dot products", fmt::format("{:.0f} GMAC/s", measure_dot_peak(threads)), ""};
}

Finding gpus() {
  std::error_code error;
  const bool nvidia = fs::exists("/dev/nvidia0", error) || fs::exists("/dev/nvidiactl", error);
  const bool amd = fs::exists("/dev/kfd", error);
  if (!nvidia && !amd) return {"gpu", "none", ""};
  return {"gpu", nvidia ? "NVIDIA" : "AMD", "this build has no GPU backend: models run on the CPU"};
}

Finding model_folder() {
  const std::string root = model_root();
  fs::path existing = root;
  std::error_code error;
  while (!fs::exists(existing, error) && existing.has_parent_path() &&
         existing != existing.parent_path()) {
    existing = existing.parent_path();
  }
  struct statvfs status = {};
  uint64_t free = 0;
  if (::statvfs(existing.c_str(), &status) == 0) {
    free = static_cast<uint64_t>(status.f_bavail) * status.f_frsize;
  }
  std::string advice;
  if (::access(existing.c_str(), W_OK | X_OK) != 0) {
    advice = existing.string() + " cannot be written; set SERVAL_HOME to a folder you own";
  } else if (free < (uint64_t{1} << 30)) {
    advice = "less than 1 GB is free; set SERVAL_HOME to a larger disk";
  }
  const size_t count = ModelFolder(root).list().size();
  return {"model folder", fmt::format("{}, {} models, {} free", root, count, format_bytes(free)),
          advice};
}

Finding default_model() {
  const bool present = ModelFolder(model_root()).find(kDefaultModel).has_value();
  return {"default model",
          fmt::format("{} {}", kDefaultModel, present ? "installed" : "not installed"),
          present ? "" : "`serval pull` fetches it"};
}

Finding libraries() {
  return {
      "libraries",
      fmt::format("{}, Boost {}.{}.{}, fmt {}.{}.{}, CLI11 " CLI11_VERSION, transfer_libraries(),
                  BOOST_VERSION / 100000, BOOST_VERSION / 100 % 1000, BOOST_VERSION % 100,
                  FMT_VERSION / 10000, FMT_VERSION / 100 % 100, FMT_VERSION % 100),
      ""};
}

int doctor(int threads, bool as_json) {
  const std::vector<Finding> findings = {{"serval", SERVAL_VERSION, ""},
                                         processor(),
                                         instructions(),
                                         kernels(threads),
                                         caches(),
                                         huge_pages(),
                                         memory(),
                                         processor_share(),
                                         frequency(),
                                         bandwidth(threads),
                                         dot_rate(threads),
                                         gpus(),
                                         model_folder(),
                                         default_model(),
                                         libraries()};
  if (as_json) {
    json::array rows;
    for (const Finding& f : findings) {
      rows.push_back(json::object{{"name", f.name},
                                  {"status", f.advice.empty() ? "ok" : "warn"},
                                  {"value", f.value},
                                  {"advice", f.advice}});
    }
    print(pretty_json(rows) + "\n");
    return kExitDone;
  }
  const Palette& c = stdout_palette();
  for (const Finding& f : findings) {
    const bool ok = f.advice.empty();
    print(fmt::format("{}{:<5}{}{:<16}{}\n", ok ? c.green : c.yellow, ok ? "ok" : "warn", c.reset,
                      f.name, terminal_safe(f.value)));
    if (!ok) print(fmt::format("     {:<16}{}\n", "", terminal_safe(f.advice)));
  }
  return kExitDone;
}

}  // namespace

Action define_doctor(CLI::App& app) {
  const auto threads = std::make_shared<int>(0);
  const auto as_json = std::make_shared<bool>(false);
  app.add_option("-t,--threads", *threads, "default: all usable cores")->check(CLI::Range(0, 4096));
  app.add_flag("--json", *as_json, "findings as JSON");
  return [threads, as_json] { return doctor(*threads, *as_json); };
}

}  // namespace serval
