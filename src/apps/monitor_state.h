// MonitorState: what a viewer of the monitor knows, put together from the stream's events
// (docs/reference/monitor.schema.json). Events that do not look as they should change nothing.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace serval {

struct ShownStep {
  uint64_t number = 0;
  double us = 0, predicted_us = 0, bytes = 0;
  int prefill = 0, decode = 0, recomputed = 0, running = 0, waiting = 0;
};

struct ShownRequest {
  uint64_t id = 0;
  int key = -1, prompt = 0, cached = 0, done = 0, generated = 0, evictions = 0;
  std::string state;
  double ttft = -1, gap99 = -1;  // ms; -1: not known
  double queued = -1, began = -1, first = -1, last = -1, ended = -1;
};

struct ShownKey {
  std::string label;
  int running = 0, waiting = 0;
  double share = 0, deficit = 0, wait50 = -1, wait99 = -1;
};

struct MonitorState {
  static constexpr size_t kSteps = 512;
  static constexpr size_t kSeconds = 600;

  // False when the event is not understood.
  bool apply(std::string_view event, std::string_view data);

  bool greeted = false;
  bool from_metrics = false;  // only what /metrics knows; KV in tokens
  bool own = false;           // only the requests of one key, keys[0]
  std::string instance, model, isa, version;
  double limit_gbs = 0, limit_gmacs = 0, target_ms = 0, up_ms = 0, hello_ms = 0;
  int blocks = 0, block_tokens = 0;

  uint64_t seq = 0, lost = 0;
  double t_ms = 0, dec = 0, pre = 0, rec = 0;
  double gbs = 0, gmacs = 0, busy = 0, power_w = -1;
  std::string bound;
  int running = 0, waiting = 0;
  int64_t preempted = 0;
  std::array<double, 2> ttft{-1, -1}, itl{-1, -1};
  struct Kv {
    int64_t free = 0, live = 0, shared = 0, cached = 0, pinned = 0, disk = 0;
  } kv;
  std::deque<double> decoded, prefilled;  // tokens per second, one value a second
  std::deque<ShownStep> steps;
  std::map<uint64_t, ShownRequest> requests;
  std::vector<ShownKey> keys;
  std::vector<std::pair<int, int>> cells;  // of the KV map: state, count
  int cell_blocks = 1;

 private:
  double next_second_ms_ = 0;
};

}  // namespace serval
