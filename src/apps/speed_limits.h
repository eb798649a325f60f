// The limits of the machine that speeds are held against, and which of them is a model's.
// `serval bench` measures them around every repetition: on a shared machine neighbours take
// bandwidth for seconds at a time, so limits belong to a moment. Others: machine_limits.h.
#pragma once

#include <boost/json.hpp>
#include <span>

#include "backend/cpu/probe.h"
#include "serval/watch.h"

namespace serval {

struct MachineLimits {
  double gbytes_per_second = 0;       // streaming reads, all threads
  double gmacs_per_second = 0;        // dot products in registers, all threads, of the model's kind
  double float_gmacs_per_second = 0;  // float multiply-adds, for attention; 0: not measured
};

MachineLimits mean_of(const MachineLimits& a, const MachineLimits& b);
MachineLimits lower_of(const MachineLimits& a, const MachineLimits& b);
MachineLimits higher_of(const MachineLimits& a, const MachineLimits& b);

// Whether two measurements of one limit differ by no more than 15 % of their mean.
constexpr double kSteadyWithin = 0.15;
bool agree(double a, double b);

boost::json::object limits_json(const MachineLimits& limits);

// The dot products that most of the model's multiply-adds are: the ones it is rated by.
DotKind dot_kind(std::span<const PlannedOperator> plan);
const char* name_of(DotKind kind);

// Processor time of the whole machine in seconds up to now: what others took shows here.
struct CpuSeconds {
  double all = 0, idle = 0;
  double stolen = 0;  // by the hypervisor
  double own = 0;     // of this process
};
CpuSeconds cpu_seconds();
double stolen_percent(const CpuSeconds& since, const CpuSeconds& now);
// Other programs and the hypervisor.
double others_percent(const CpuSeconds& since, const CpuSeconds& now);

class LimitsProbe {
 public:
  explicit LimitsProbe(int threads) : probe_(threads) {}
  // 50 to 100 ms. `with_float`: what attention over floats is held against, too.
  MachineLimits measure(DotKind kind, bool with_float);

 private:
  MachineProbe probe_;
};

}  // namespace serval
