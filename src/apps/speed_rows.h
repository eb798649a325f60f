// One row of `serval bench`: what was run, how fast, and how near to what the machine allows.
#pragma once

#include <boost/json.hpp>
#include <string>
#include <vector>

#include "apps/speed_limits.h"
#include "model/model.h"

namespace serval {

struct Repetition {
  double tokens_per_second = 0;
  MachineLimits before, after;  // measured just before and just after it
  double others_percent = 0;    // of the machine's processor time, taken by others meanwhile
};

struct SpeedRow {
  bool decode = false;
  int tokens = 0, depth = 0, batch = 1;
  std::vector<Repetition> repetitions;
};

// A repetition against the mean of its limits.
struct RooflineShare {
  double percent = 0;      // of the nearer limit
  const char* bound = "";  // that limit: "memory" or "compute"
  bool steady = true;      // it was the same before and after: agree()
};

// A row's figures against the machine. Attention arithmetic is not counted in GMAC/s.
struct SpeedFigures {
  double median = 0, best = 0;        // tokens per second
  double gbytes = 0, gmacs = 0;       // per second, at the median
  std::vector<RooflineShare> shares;  // of the repetitions
  // Medians over the steady repetitions; over all if none was steady.
  double roofline_percent = 0;
  const char* bound = "";
  MachineLimits limits;
  int unsteady = 0;  // repetitions that were not
};

// Bytes and multiplications come from the plan: weights are read once a step, KV once a token.
SpeedFigures figures(const SpeedRow& row, const ModelPlan& plan, int batch_tokens);

std::string table_head();
std::string table_line(const SpeedRow& row, const SpeedFigures& f);
boost::json::object row_json(const SpeedRow& row, const SpeedFigures& f);

}  // namespace serval
