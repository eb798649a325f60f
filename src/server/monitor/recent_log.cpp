#include "server/monitor/recent_log.h"

#include <fmt/format.h>

#include <boost/json/serialize.hpp>

#include "base/monotonic.h"

namespace serval {
namespace {

constexpr std::string_view kLevels[] = {"info", "warn", "error"};

}  // namespace

void RecentLog::add(LogLevel level, std::string_view event, const boost::json::object& facts) {
  const std::string text = boost::json::serialize(facts);
  const std::lock_guard lock(mutex_);
  ++last_;
  const int64_t at_us = monotonic_us() - epoch_us_;
  lines_.push_back(
      {last_,
       fmt::format(R"({{"n":{},"t_ms":{}.{:03},"level":"{}","event":"{}","facts":{}}})", last_,
                   at_us / 1000, at_us % 1000, kLevels[static_cast<size_t>(level)], event, text)});
  if (lines_.size() > kLines) lines_.pop_front();
}

std::string RecentLog::json_after(uint64_t after) const {
  const std::lock_guard lock(mutex_);
  std::string out = fmt::format(R"({{"last":{},"lines":[)", last_);
  bool first = true;
  for (const Line& line : lines_) {
    if (line.number <= after) continue;
    if (!first) out += ',';
    first = false;
    out += line.json;
  }
  return out + "]}";
}

}  // namespace serval
