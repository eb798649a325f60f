// StepTraffic: the bytes that a step reads from memory at least, and its multiply-adds, for
// rooflines. From the model's plan.
#pragma once

#include <algorithm>
#include <cstdint>

#include "model/model.h"

namespace serval {

struct StepTraffic {
  uint64_t body_bytes = 0;      // weights that every step reads
  uint64_t head_bytes = 0;      // the output projection, where a row wants logits
  uint64_t kv_token_bytes = 0;  // of one position, in layers that see everything
  uint64_t kv_local_bytes = 0;  // of one position, in layers that see a window
  int window = 0;
  uint64_t row_macs = 0;   // of matrix products, for every row
  uint64_t head_macs = 0;  // for every row of logits

  // K and V that `rows` rows after `past` known positions attend to.
  uint64_t kv_bytes(int past, int rows) const {
    const int seen = past + rows;
    const int near = std::min(seen, window + rows - 1);
    return kv_token_bytes * static_cast<uint64_t>(seen) +
           kv_local_bytes * static_cast<uint64_t>(near);
  }
};

inline StepTraffic step_traffic(const ModelPlan& plan) {
  StepTraffic out;
  for (const PlanRow& row : plan.rows) {
    if (row.verb == "head") out.head_bytes += row.weight_bytes;
  }
  out.row_macs = plan.macs_per_token;
  out.head_macs = plan.head_macs;
  out.body_bytes = plan.step_weight_bytes - out.head_bytes;
  const ModelConfig& config = plan.config;
  int local = 0;
  for (int i = 0; i < config.layers; ++i) local += config.layer_is_local(i) ? 1 : 0;
  const uint64_t layer_bytes =
      plan.kv_bytes_per_token / static_cast<uint64_t>(std::max(1, config.layers));
  out.kv_local_bytes = layer_bytes * static_cast<uint64_t>(local);
  out.kv_token_bytes = plan.kv_bytes_per_token - out.kv_local_bytes;
  out.window = config.sliding_window;
  return out;
}

}  // namespace serval
