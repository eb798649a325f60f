// Counters and histograms of the server, and their Prometheus text. Recording is lock-free; any
// thread may record and render.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "serval/engine.h"
#include "server/http/handler.h"

namespace serval {

// Fixed upper bounds, one atomic per bucket.
class Histogram {
 public:
  static constexpr size_t kMaxBuckets = 24;

  // REQUIRES: rising bounds, at most kMaxBuckets, that live as long as the histogram.
  explicit Histogram(std::span<const double> bounds) : bounds_(bounds) {}

  void record(double value);
  void render(std::string& out, std::string_view name, std::string_view help,
              std::string_view labels) const;

 private:
  std::span<const double> bounds_;
  std::array<std::atomic<uint64_t>, kMaxBuckets + 1> counts_{};
  std::atomic<double> sum_{0};
};

// How fast the last steps read memory.
struct RecentSteps {
  double bytes_per_second = 0;
  double roofline_ratio = 0;  // of what the machine can read; 0: unknown
};
// `bandwidth`: what the machine can read, in bytes per second; 0: unknown.
RecentSteps measure(std::span<const StepRecord> steps, double bandwidth);

class Metrics {
 public:
  Metrics();

  Histogram time_to_first_token, inter_token, end_to_end, queue, prefill, decode;  // seconds
  Histogram prompt_tokens, generation_tokens;                                      // per choice

  std::atomic<uint64_t> finished_stop{0}, finished_length{0}, finished_abort{0}, failed{0};
  std::atomic<uint64_t> key_refusals{0};  // over a key's own share

  void count_reply(int status);

  // Prometheus text format 0.0.4, with vLLM's names where the meaning is the same.
  std::string render(const EngineStats& engine, const std::vector<OperatorWork>& work,
                     const RecentSteps& recent, const ConnectionCounts& connections,
                     std::string_view model) const;

 private:
  static constexpr std::array<int, 19> kStatuses = {
      0, 200, 204, 400, 401, 403, 404, 405, 408, 413, 414, 415, 417, 429, 431, 500, 501, 503, 505};
  std::array<std::atomic<uint64_t>, kStatuses.size()> replies_{};
};

}  // namespace serval
