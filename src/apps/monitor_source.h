// MonitorSource: where a viewer's events come from: a server, or a recording of one. A server that
// refuses its monitor but not its /metrics is shown as far as these go (metrics_reader.h); one that
// refuses both shows the requests of the viewer's own key, as events `own`.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "serval/error.h"

namespace serval {

// The server could not be reached at all: exit code 3.
class Unreachable : public Error {
 public:
  using Error::Error;
};
inline constexpr int kExitUnreachable = 3;

class MonitorSource {
 public:
  using OnEvent = std::function<void(std::string_view name, std::string_view data)>;
  virtual ~MonitorSource() = default;

  // Waits for events, or for one of `descriptors` to be readable, at most so long. Throws Error
  // when the server will not show anything.
  virtual void wait(int milliseconds, std::span<const int> descriptors,
                    const OnEvent& on_event) = 0;
  // Everything there is to know now, once.
  virtual void look(const OnEvent& on_event) = 0;
  // What stands between the viewer and the server just now; empty: nothing.
  virtual std::string fault() const { return {}; }
  // No more events will come.
  virtual bool ended() const { return false; }
  // Ends a request; returns what to tell the user.
  virtual std::string cancel(uint64_t request) = 0;
};

// `record`: also written there; empty: nowhere.
std::unique_ptr<MonitorSource> live_source(const std::string& address, const std::string& key,
                                           int hz, const std::string& record);
// `speed`: how much faster than it was.
std::unique_ptr<MonitorSource> replay_source(const std::string& path, double speed);

}  // namespace serval
