#include "apps/profile.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <utility>

namespace serval {
namespace {

namespace json = boost::json;

struct Rates {
  double milliseconds = 0;
  double gbytes = 0, gmacs = 0;  // per second
  double limit_percent = 0;      // of the nearer limit
};

// Attention over a float cache is held against memory and float multiply-adds, over q8_0 against
// memory alone: its arithmetic is integer and has no peak of its own here.
Rates rates_of(const OperatorWork& work, const MachineLimits& limits) {
  Rates out;
  const double seconds = static_cast<double>(work.nanoseconds) / 1e9;
  out.milliseconds = seconds * 1e3;
  if (seconds <= 0) return out;
  out.gbytes = static_cast<double>(work.bytes) / seconds / 1e9;
  out.gmacs = static_cast<double>(work.macs) / seconds / 1e9;
  const double memory = limits.gbytes_per_second > 0 ? out.gbytes / limits.gbytes_per_second : 0;
  const double peak =
      work.op == Operator::kAttention ? limits.float_gmacs_per_second : limits.gmacs_per_second;
  const double dots = peak > 0 ? out.gmacs / peak : 0;
  out.limit_percent = 100 * std::max(memory, dots);
  return out;
}

void add_to(OperatorWork& sum, const OperatorWork& work) {
  sum.op = work.op;
  sum.calls += work.calls;
  sum.nanoseconds += work.nanoseconds;
  sum.bytes += work.bytes;
  sum.macs += work.macs;
}

std::array<OperatorWork, kOperators> by_operator(const Profile& profile) {
  std::array<OperatorWork, kOperators> out;
  for (const OperatorWork& work : profile) add_to(out[static_cast<size_t>(work.op)], work);
  return out;
}

json::object figures_json(const OperatorWork& work, const MachineLimits& limits) {
  const Rates rates = rates_of(work, limits);
  const auto rounded = [](double value) { return std::round(value * 1000) / 1000; };
  return {{"calls", work.calls},
          {"milliseconds", rounded(rates.milliseconds)},
          {"bytes", work.bytes},
          {"macs", work.macs},
          {"gbytes_per_second", rounded(rates.gbytes)},
          {"gmacs_per_second", rounded(rates.gmacs)},
          {"limit_percent", rounded(rates.limit_percent)}};
}

}  // namespace

Profile work_between(const Profile& before, const Profile& after) {
  std::map<std::pair<int, Operator>, OperatorWork> earlier;
  for (const OperatorWork& work : before) earlier[{work.layer, work.op}] = work;
  Profile out;
  for (OperatorWork work : after) {
    const auto found = earlier.find({work.layer, work.op});
    if (found != earlier.end()) {
      work.calls -= found->second.calls;
      work.nanoseconds -= found->second.nanoseconds;
      work.bytes -= found->second.bytes;
      work.macs -= found->second.macs;
    }
    if (work.calls > 0) out.push_back(work);
  }
  return out;
}

std::string profile_table(const Profile& profile, const MachineLimits& limits) {
  const auto operators = by_operator(profile);
  double total = 0;
  for (const OperatorWork& work : operators) total += static_cast<double>(work.nanoseconds);
  std::string out;
  for (const OperatorWork& work : operators) {
    if (work.calls == 0) continue;
    const Rates rates = rates_of(work, limits);
    out += fmt::format("  {:<16}{:>8.1f} %{:>10.2f} ms{:>11.2f}{:>10.1f}{:>8.1f}\n",
                       kOperatorNames[static_cast<size_t>(work.op)],
                       100 * static_cast<double>(work.nanoseconds) / total, rates.milliseconds,
                       rates.gbytes, rates.gmacs, rates.limit_percent);
  }
  return out;
}

json::array profile_json(const Profile& profile, const MachineLimits& limits) {
  json::array out;
  for (const OperatorWork& sum : by_operator(profile)) {
    if (sum.calls == 0) continue;
    json::object row = figures_json(sum, limits);
    row["operator"] = kOperatorNames[static_cast<size_t>(sum.op)];
    json::array layers;
    for (const OperatorWork& work : profile) {
      if (work.op != sum.op || work.layer < 0) continue;
      json::object layer = figures_json(work, limits);
      layer["layer"] = work.layer;
      layers.push_back(std::move(layer));
    }
    if (!layers.empty()) row["layers"] = std::move(layers);
    out.push_back(std::move(row));
  }
  return out;
}

}  // namespace serval
