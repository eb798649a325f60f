// MetricsReader: what /metrics says, as events of the monitor, for viewers without admin rights.
// Only figures of the whole server are there: no requests, steps, keys or blocks. KV is counted in
// tokens. Not thread-safe.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace serval {

class MetricsReader {
 public:
  using OnEvent = std::function<void(std::string_view name, std::string_view data)>;

  // One reading of /metrics, taken `now_ms` after any moment that stays the same. Gives `frame`;
  // before the first one, and after the server was started anew, `hello`. Throws Error(kCorrupt)
  // when the text is not a Serval server's.
  void take(std::string_view text, double now_ms, const OnEvent& on_event);

 private:
  using Buckets = std::vector<std::pair<double, double>>;  // upper bound, count up to it
  struct Reading {
    double at_ms = 0;
    std::map<std::string, double, std::less<>> values;  // all rows of a name added up
    Buckets first_token, gap;
    std::string model;
    double value(std::string_view name) const;
  };

  static Reading parse(std::string_view text, double now_ms);
  static std::string latency(const Buckets& before, const Buckets& now);
  const Reading& before(double ms) const;
  std::string hello() const;
  std::string frame() const;

  std::deque<Reading> readings_;  // of the last minute, oldest first
  int starts_ = 0;                // of the server, as far as they were seen
};

}  // namespace serval
