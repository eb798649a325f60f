// Buffers are larger than any cache and separate per thread: two threads that stream one buffer
// share its lines in the last-level cache and would show nearly twice the real figure.
#include "backend/cpu/probe.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <vector>

#include "backend/cpu/isa.h"
#include "backend/cpu/memory.h"
#include "backend/cpu/team.h"

namespace serval {
namespace {

using cpu::Mapping;
using cpu::Team;
using Clock = std::chrono::steady_clock;

constexpr size_t kBytesPerWorker = size_t{96} << 20;
constexpr int kPasses = 5;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

double measure_read_bandwidth(int threads) {
  const cpu::KernelTable& kernels = cpu::choose_kernels("");
  Team team(threads);
  std::vector<std::unique_ptr<Mapping>> buffers(static_cast<size_t>(team.size()));
  for (auto& buffer : buffers) buffer = std::make_unique<Mapping>(kBytesPerWorker);
  const auto fill = [&](int, int i, int) {
    std::memset(buffers[static_cast<size_t>(i)]->data(), i + 1, kBytesPerWorker);
  };
  team.run({{team.size(), 1, fill}});
  std::vector<uint64_t> seen(buffers.size());
  double best = 0.0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto start = Clock::now();
    const auto read = [&](int, int first, int) {
      const size_t i = static_cast<size_t>(first);
      seen[i] |= kernels.read_memory(buffers[i]->data(), kBytesPerWorker);
    };
    team.run({{team.size(), 1, read}});
    const double bytes = static_cast<double>(kBytesPerWorker) * team.size();
    best = std::max(best, bytes / seconds_since(start) / 1e9);
  }
  return best;
}

double measure_dot_peak(int threads, DotKind kind) {
  constexpr int64_t kRepeats = 400000;
  const cpu::KernelTable& kernels = cpu::choose_kernels("");
  const auto macs_of = kind == DotKind::kInt8                                   ? kernels.dot_macs
                       : kind == DotKind::kBf16 && kernels.bf16_macs != nullptr ? kernels.bf16_macs
                                                                                : kernels.fma_macs;
  Team team(threads);
  std::vector<double> macs(static_cast<size_t>(team.size()));
  double best = 0.0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto start = Clock::now();
    const auto dots = [&](int, int i, int) { macs[static_cast<size_t>(i)] = macs_of(kRepeats); };
    team.run({{team.size(), 1, dots}});
    double total = 0.0;
    for (const double m : macs) total += m;
    best = std::max(best, total / seconds_since(start) / 1e9);
  }
  return best;
}

}  // namespace serval
