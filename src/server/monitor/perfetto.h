// A trace of steps in Perfetto's own format (open at ui.perfetto.dev): one track for the steps, one
// for each request with its time in the queue and what the steps computed for it, arrows from each
// step to its requests, and counters.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "serval/engine.h"

namespace serval {

struct RequestTimes {
  RequestId id = 0;
  std::string label;  // of its key
  int prompt = 0, cached = 0;
  int64_t queued_us = -1, began_us = -1;  // -1: not yet, or not known
};

std::string perfetto_trace(const std::string& process, std::span<const StepRecord> steps,
                           std::span<const RequestTimes> requests);

}  // namespace serval
