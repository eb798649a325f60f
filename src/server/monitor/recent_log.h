// RecentLog: the latest lines of the server's log, for the monitor. Fixed words, routes, labels and
// numbers only: nothing that a client wrote (no path, no id of its own, no text) may be added.
//
// Threads: any.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <string_view>

namespace serval {

enum class LogLevel : uint8_t { kInfo, kWarn, kError };

class RecentLog {
 public:
  static constexpr size_t kLines = 512;

  // Times are shown since `epoch_us` of the monotonic clock.
  explicit RecentLog(int64_t epoch_us) : epoch_us_(epoch_us) {}

  // `event`: what happened, one word. `facts`: strings and numbers.
  void add(LogLevel level, std::string_view event, const boost::json::object& facts);
  // Lines after number `after`, oldest first; docs/reference/monitor.schema.json, log.
  std::string json_after(uint64_t after) const;

 private:
  struct Line {
    uint64_t number = 0;
    std::string json;
  };
  const int64_t epoch_us_;
  mutable std::mutex mutex_;  // guards what follows
  uint64_t last_ = 0;
  std::deque<Line> lines_;
};

}  // namespace serval
