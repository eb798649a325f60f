// Buffers are larger than any cache and separate per thread: two threads that stream one buffer
// share its lines in the last-level cache and would show nearly twice the real figure.
#include "backend/cpu/probe.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <utility>
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
// Calls of dot_macs() and its like. A pass takes a millisecond, portable ones 15.
constexpr int64_t kRepeats = 100000;
constexpr int kFewestPasses = 3;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// `pass` returns how much it did: the most per second that any of the passes in `seconds` reached.
template <typename Pass>
double best_rate(double seconds, const Pass& pass) {
  double best = 0;
  const auto begin = Clock::now();
  for (int i = 0; i < kFewestPasses || seconds_since(begin) < seconds; ++i) {
    const auto start = Clock::now();
    const double done = pass();
    best = std::max(best, done / seconds_since(start));
  }
  return best;
}

}  // namespace

struct MachineProbe::Workers {
  explicit Workers(int threads) : team(threads), sums(static_cast<size_t>(team.size())) {}

  void make_buffers() {
    std::vector<std::unique_ptr<Mapping>> made(static_cast<size_t>(team.size()));
    for (auto& buffer : made) buffer = std::make_unique<Mapping>(kBytesPerWorker);
    const auto fill = [&](int, int i, int) {
      std::memset(made[static_cast<size_t>(i)]->data(), i + 1, kBytesPerWorker);
    };
    team.run({{team.size(), 1, fill}});
    buffers = std::move(made);
  }

  const cpu::KernelTable& kernels = cpu::choose_kernels("");
  Team team;
  std::vector<std::unique_ptr<Mapping>> buffers;
  struct alignas(128) Sum {
    double macs = 0;
    uint64_t seen = 0;  // what was read, so that reading is not left out
  };
  std::vector<Sum> sums;  // of the workers
};

MachineProbe::MachineProbe(int threads) : workers_(std::make_unique<Workers>(threads)) {}
MachineProbe::~MachineProbe() = default;

double MachineProbe::read_bandwidth() {
  Workers& w = *workers_;
  if (w.buffers.empty()) w.make_buffers();
  const auto read = [&](int, int first, int) {
    const auto i = static_cast<size_t>(first);
    w.sums[i].seen |= w.kernels.read_memory(w.buffers[i]->data(), kBytesPerWorker);
  };
  const auto pass = [&] {
    w.team.run({{w.team.size(), 1, read}});
    return static_cast<double>(kBytesPerWorker) * w.team.size();
  };
  return best_rate(0.04, pass) / 1e9;
}

double MachineProbe::dot_peak(DotKind kind) {
  Workers& w = *workers_;
  const auto macs_of = kind == DotKind::kInt8 ? w.kernels.dot_macs
                       : kind == DotKind::kBf16 && w.kernels.bf16_macs != nullptr
                           ? w.kernels.bf16_macs
                           : w.kernels.fma_macs;
  const auto dots = [&](int, int i, int) {
    w.sums[static_cast<size_t>(i)].macs = macs_of(kRepeats);
  };
  const auto pass = [&] {
    w.team.run({{w.team.size(), 1, dots}});
    double total = 0;
    for (const auto& sum : w.sums) total += sum.macs;
    return total;
  };
  return best_rate(0.01, pass) / 1e9;
}

double measure_read_bandwidth(int threads) { return MachineProbe(threads).read_bandwidth(); }
double measure_dot_peak(int threads, DotKind kind) { return MachineProbe(threads).dot_peak(kind); }

}  // namespace serval
