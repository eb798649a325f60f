// One row of `serval bench`: what was run, how fast, and how near to what the machine allows.
#pragma once

#include <boost/json.hpp>
#include <string>
#include <vector>

#include "model/model.h"

namespace serval {

struct MachineLimits {
  double gbytes_per_second = 0;  // streaming reads, all threads
  double gmacs_per_second = 0;   // dot products in registers, all threads, of the model's kind
};

struct SpeedRow {
  bool decode = false;
  int tokens = 0, depth = 0, batch = 1;
  std::vector<double> rates;  // tokens per second, one for each repetition
};

// A row's figures against the machine. Attention arithmetic is not counted in GMAC/s.
struct SpeedFigures {
  double median = 0, best = 0;   // tokens per second
  double gbytes = 0, gmacs = 0;  // per second, at the median
  double roofline_percent = 0;   // of the nearer limit, at the median
  const char* bound = "";        // "memory" or "compute"
};

// Bytes and multiplications come from the plan: weights are read once a step, KV once a token.
SpeedFigures figures(const SpeedRow& row, const ModelPlan& plan, int batch_tokens,
                     const MachineLimits& limits);

std::string table_head();
std::string table_line(const SpeedRow& row, const SpeedFigures& f);
boost::json::object row_json(const SpeedRow& row, const SpeedFigures& f);

}  // namespace serval
