// The monitor's events and replies as JSON on one line each. What they mean and how they look is
// stated in docs/reference/monitor.schema.json, which the tests hold these functions to.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "serval/engine.h"
#include "server/monitor/history.h"
#include "server/monitor/lives.h"
#include "server/monitor/rates.h"

namespace serval {

// Everything a stream begins with that stays as it is.
struct MonitorIdentity {
  std::string version, instance;
  std::string model;             // as clients call it
  double limit_gbs = 0;          // what the machine can do, 10^9 a second; 0: not known
  double limit_gmacs = 0;        //
  int64_t measured_unix_ms = 0;  // 0: not measured
  double itl_ms = 0;             // target
  std::string power;             // whether watts are known
  bool disk = false;             // KV has a second tier there
  int64_t disk_bytes = 0;        // most that it may take
  size_t text = 0;               // characters of each prompt and answer that are shown
};

struct Frame {
  uint64_t seq = 0;
  int64_t at_us = 0;
  Rates rates;
  Lives::Pair ttft, itl;
  EngineStats stats;
  std::array<int64_t, kBlockStates> blocks{};  // by state
  std::optional<double> watts;
};

// Times of the engine's clock become milliseconds since `epoch_us`.
std::string hello_json(const MonitorIdentity& identity, const ModelInfo& model,
                       const EngineStats& stats, int hz, int64_t since_epoch_us);
// Without its end, which differs from viewer to viewer: append frame_end().
std::string frame_json(const Frame& frame, const MonitorIdentity& identity, int64_t epoch_us);
std::string frame_end(uint64_t lost);
std::string steps_json(std::span<const StepRecord> steps, int64_t epoch_us);
std::string kvmap_json(const Survey& survey, int64_t epoch_us);
std::string reqs_json(std::span<const Life* const> lives, int64_t epoch_us);
std::string keys_json(std::span<const KeyStats> keys, const Survey& survey);
std::string history_json(std::span<const HistoryPoint> points, bool tens, int64_t epoch_us);
std::string prefixes_json(const Survey& survey, const Lives& lives, uint64_t block_bytes,
                          int64_t epoch_us);
// Beginnings of prompts and answers that changed after `serial`; empty: none did.
std::string texts_json(std::span<const Life* const> lives, uint64_t serial);

// For whom a request is described. An owner who is no admin learns nothing of others: no number
// that counts their requests, steps or rows.
enum class Audience : uint8_t { kAdmin, kOwner };
struct RequestView {
  const std::string& label;  // of its key
  double late_ms = 0;
  Audience audience = Audience::kAdmin;
  bool text = false;  // with the beginnings of prompt and answer
};
std::string request_json(const Life& life, const RequestView& view, int64_t epoch_us);
// All of one owner's.
std::string own_json(std::span<const Life* const> lives, const std::string& label, int64_t now_us,
                     int64_t epoch_us);

std::array<int64_t, kBlockStates> count_states(const Survey& survey);

}  // namespace serval
