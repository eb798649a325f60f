// Sends a workload's requests: by a fixed number of clients, at random times of a given rate, or by
// the script in the data set.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "serve/exchange.h"
#include "serve/workload.h"

namespace bench {

struct LoadOptions {
  size_t max_concurrency = 0;                                     // 0: no limit
  double request_rate = std::numeric_limits<double>::infinity();  // per second, Poisson
  uint64_t seed = 0;
  std::string probe_path;  // asked beside the load, on a connection of its own
  double probe_every_s = 0.05;
};

struct LoadResult {
  std::vector<Result> requests;  // in the order of the workload
  std::vector<Result> probes;
  double duration_s = 0;
  double client_cpu_s = 0;
  size_t peak_concurrency = 0;
};

// Runs to the last answer.
LoadResult run_load(Shared& shared, Workload& workload, const LoadOptions& options);

}  // namespace bench
