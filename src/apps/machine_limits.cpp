// Measuring takes some tenths of a second, which is most of the time that a small model needs to
// load. The file holds one line: boot id, threads, GB/s, GMAC/s of each kind, when. It is trusted
// for an hour, then the better of both measurements counts: load can only make them worse.
#include "apps/machine_limits.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "apps/environment.h"
#include "base/file.h"
#include "serval/error.h"

namespace serval {
namespace {

constexpr int64_t kTrustedMs = int64_t{3600} * 1000;
constexpr uint64_t kMostBytes = 4096;

int64_t unix_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::string boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  file >> id;
  return id;
}

// Empty without a home, as services have it.
std::string folder_of_limits() {
  try {
    return state_folder();
  } catch (const Error&) {
    return {};
  }
}

// Of this boot and so many threads; else nothing is set.
MeasuredLimits read_limits(const std::string& path, int threads) {
  try {
    std::istringstream text(read_text_file(path, kMostBytes));
    std::string boot;
    int of_threads = 0;
    MeasuredLimits found;
    text >> boot >> of_threads >> found.gbytes_per_second;
    for (double& gmacs : found.dots) text >> gmacs;
    text >> found.unix_ms;
    if (text && !boot.empty() && boot == boot_id() && of_threads == threads) return found;
  } catch (const Error&) {
    // There is none.
  }
  return {};
}

void keep_limits(const std::string& folder, const std::string& path, int threads,
                 const MeasuredLimits& limits) {
  try {
    std::filesystem::create_directories(folder);
    AtomicFile file(path);
    file.write(fmt::format("{} {} {} {} {}\n", boot_id(), threads, limits.gbytes_per_second,
                           fmt::join(limits.dots, " "), limits.unix_ms));
    file.commit();
  } catch (const std::exception&) {
    // A folder that cannot be written costs time, nothing else.
  }
}

}  // namespace

MeasuredLimits machine_limits(int threads) {
  const std::string folder = folder_of_limits();
  const std::string path = folder + "/machine-limits";
  MeasuredLimits limits = folder.empty() ? MeasuredLimits() : read_limits(path, threads);
  const int64_t age = unix_ms() - limits.unix_ms;
  if (limits.unix_ms > 0 && age >= 0 && age < kTrustedMs) return limits;
  MachineProbe probe(threads);
  limits.gbytes_per_second = std::max(limits.gbytes_per_second, probe.read_bandwidth());
  for (size_t kind = 0; kind < limits.dots.size(); ++kind) {
    limits.dots[kind] = std::max(limits.dots[kind], probe.dot_peak(static_cast<DotKind>(kind)));
  }
  limits.unix_ms = unix_ms();
  if (!folder.empty()) keep_limits(folder, path, threads, limits);
  return limits;
}

}  // namespace serval
