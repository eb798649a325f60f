#include "apps/monitor_source.h"

#include <fmt/format.h>
#include <poll.h>

#include <boost/json.hpp>
#include <chrono>
#include <cstring>
#include <fstream>
#include <optional>
#include <thread>
#include <vector>

#include "apps/admin_client.h"
#include "apps/metrics_reader.h"
#include "base/quoted.h"

namespace serval {
namespace {

namespace json = boost::json;
using Clock = std::chrono::steady_clock;

constexpr auto kMetricsLook = std::chrono::milliseconds(1000);  // two readings make a rate

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

void wait_for(int milliseconds, std::span<const int> descriptors) {
  std::vector<pollfd> fds;
  for (const int descriptor : descriptors) fds.push_back({descriptor, POLLIN, 0});
  ::poll(fds.data(), fds.size(), milliseconds);
}

[[noreturn]] void throw_refusal(const AdminReply& reply) {
  std::string message = error_message(reply);
  if (reply.status == 401) message += "; give it in SERVAL_API_KEY or with --key-file";
  if (reply.status == 404) message += "; is this an older server?";
  throw Error(ErrorCode::kInvalidArgument, message);
}

// ---- A server

class LiveSource final : public MonitorSource {
 public:
  LiveSource(const std::string& address, const std::string& key, int hz, const std::string& record)
      : client_(address, key), hz_(hz) {
    if (record.empty()) return;
    record_.open(record, std::ios::binary | std::ios::trunc);
    if (!record_) {
      throw Error(ErrorCode::kIo, fmt::format("{}: {}", record, std::strerror(errno)));
    }
  }

  void wait(int milliseconds, std::span<const int> descriptors, const OnEvent& on_event) override {
    if (metrics_ || own_) {
      poll(milliseconds, descriptors, on_event);
      return;
    }
    if (!open_ && Clock::now() < again_) {
      const double left = -ms_since(again_);
      wait_for(std::min(milliseconds, static_cast<int>(left) + 1), descriptors);
      return;
    }
    if (!open_) open();
    try {
      const auto reply = client_.wait(milliseconds, descriptors,
                                      [&](std::string_view name, std::string_view data) {
                                        take(name, data);
                                        on_event(name, data);
                                      });
      if (!reply) return;
      if (!is_forbidden(*reply) || !find_less()) throw_refusal(*reply);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kIo) throw;
      if (!seen_) throw Unreachable(ErrorCode::kIo, error.message());
      open_ = false;
      fault_ = "the connection is lost, trying again";
      again_ = Clock::now() + std::chrono::seconds(1);
    }
  }

  void look(const OnEvent& on_event) override {
    AdminReply reply;
    try {
      reply = client_.get("/admin/monitor");
    } catch (const Error& error) {
      throw Unreachable(ErrorCode::kIo, error.message());
    }
    if (is_forbidden(reply) && find_less()) {
      if (own_) return read_own(on_event);
      read_metrics([](auto...) {});
      std::this_thread::sleep_for(kMetricsLook);
      read_metrics(on_event, true);
      return;
    }
    if (reply.status != 200) throw_refusal(reply);
    const json::object snapshot = json::parse(reply.body).as_object();
    for (const auto& [name, data] : snapshot) {
      const std::string text = json::serialize(data);
      take(name, text);
      on_event(name, text);
    }
  }

  std::string fault() const override { return fault_; }

  // With a connection of its own: the stream goes on.
  std::string cancel(uint64_t request) override {
    if (own_) return "to cancel it here takes an admin key; its client may hang up";
    try {
      AdminClient once(client_.address(), client_.key());
      const AdminReply reply = once.post(fmt::format("/admin/requests/{}/cancel", request));
      return reply.status == 200 ? fmt::format("request {} is cancelled", request)
                                 : error_message(reply);
    } catch (const Error& error) {
      return error.message();
    }
  }

 private:
  void open() {
    client_.open_stream(seen_ ? fmt::format("/admin/monitor/stream?hz={}&since={}", hz_, seq_)
                              : fmt::format("/admin/monitor/stream?hz={}", hz_));
    open_ = true;
  }

  static bool is_forbidden(const AdminReply& reply) {
    return reply.status == 401 || reply.status == 403;
  }

  // Whoever may not see the monitor may still be allowed to read /metrics, or has requests.
  bool find_less() {
    if (client_.get("/metrics").status == 200) {
      metrics_.emplace();
    } else {
      own_ = client_.get("/v1/requests").status == 200;
    }
    return metrics_ || own_;
  }

  void read_own(const OnEvent& on_event) {
    const AdminReply reply = client_.get("/v1/requests");
    if (reply.status != 200) throw_refusal(reply);
    take("own", reply.body);
    on_event("own", reply.body);
  }

  void read_metrics(const OnEvent& on_event, bool greet = false) {
    const AdminReply reply = client_.get("/metrics");
    if (reply.status != 200) throw_refusal(reply);
    if (greet && !hello_.empty()) on_event("hello", hello_);
    metrics_->take(reply.body, ms_since(start_), [&](std::string_view name, std::string_view data) {
      if (name == "hello") hello_ = data;
      take(name, data);
      on_event(name, data);
    });
  }

  void poll(int milliseconds, std::span<const int> descriptors, const OnEvent& on_event) {
    const double left = -ms_since(again_);
    if (left > 0) wait_for(std::min(milliseconds, static_cast<int>(left) + 1), descriptors);
    if (Clock::now() < again_) return;
    again_ = Clock::now() + std::chrono::milliseconds(1000 / hz_);
    try {
      own_ ? read_own(on_event) : read_metrics(on_event);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kIo) throw;
      fault_ = "the connection is lost, trying again";
      again_ = Clock::now() + std::chrono::seconds(1);
    }
  }

  void take(std::string_view name, std::string_view data) {
    seen_ = true;
    fault_.clear();
    if (name == "frame") {
      constexpr std::string_view kSeq = "{\"seq\":";
      if (data.starts_with(kSeq)) seq_ = std::strtoull(data.data() + kSeq.size(), nullptr, 10);
    }
    if (!record_.is_open()) return;
    record_ << fmt::format("{{\"event\":\"{}\",\"at_ms\":{:.0f},\"data\":{}}}\n", name,
                           ms_since(start_), data);
    record_.flush();
    if (!record_) throw Error(ErrorCode::kCorrupt, "the recording could not be written");
  }

  AdminClient client_;
  const int hz_;
  const Clock::time_point start_ = Clock::now();
  std::ofstream record_;
  bool open_ = false, seen_ = false;
  uint64_t seq_ = 0;
  std::string fault_;
  Clock::time_point again_;
  std::optional<MetricsReader> metrics_;  // while nothing else may be seen
  std::string hello_;                     // of these
  bool own_ = false;                      // only one's own requests may be seen
};

// ---- A recording

class ReplaySource final : public MonitorSource {
 public:
  ReplaySource(const std::string& path, double speed) : path_(path), speed_(speed), file_(path) {
    if (!file_) {
      throw Error(ErrorCode::kNotFound, fmt::format("{}: {}", path, std::strerror(errno)));
    }
    next();
  }

  void wait(int milliseconds, std::span<const int> descriptors, const OnEvent& on_event) override {
    const double due = line_ ? line_->at_ms / speed_ - ms_since(start_) : milliseconds;
    if (due > 0) wait_for(std::min(milliseconds, static_cast<int>(due) + 1), descriptors);
    while (line_ && line_->at_ms / speed_ <= ms_since(start_)) give(on_event);
  }

  void look(const OnEvent& on_event) override {
    while (line_) give(on_event);
  }

  bool ended() const override { return !line_; }
  std::string cancel(uint64_t) override { return "this is a recording"; }

 private:
  struct Line {
    std::string name, data;
    double at_ms = 0;
  };

  void give(const OnEvent& on_event) {
    on_event(line_->name, line_->data);
    next();
  }

  void next() {
    line_.reset();
    std::string text;
    if (!std::getline(file_, text)) return;
    ++number_;
    try {
      const json::object object = json::parse(text).as_object();
      Line line;
      line.name = std::string(object.at("event").as_string());
      line.data = json::serialize(object.at("data"));
      if (const auto* at = object.if_contains("at_ms")) line.at_ms = at->to_number<double>();
      line_ = std::move(line);
    } catch (const std::exception&) {
      throw Error(ErrorCode::kCorrupt,
                  fmt::format("{}, line {}: not an event of the monitor", path_, number_));
    }
  }

  const std::string path_;
  const double speed_;
  std::ifstream file_;
  const Clock::time_point start_ = Clock::now();
  std::optional<Line> line_;
  size_t number_ = 0;
};

}  // namespace

std::unique_ptr<MonitorSource> live_source(const std::string& address, const std::string& key,
                                           int hz, const std::string& record) {
  return std::make_unique<LiveSource>(address, key, hz, record);
}

std::unique_ptr<MonitorSource> replay_source(const std::string& path, double speed) {
  return std::make_unique<ReplaySource>(path, speed);
}

}  // namespace serval
