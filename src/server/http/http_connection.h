// HttpConnection: the one implementation of Connection, and the Exchange it hands out. Private to
// connection.cpp (reading) and answering.cpp (writing).
#pragma once

#include <array>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/http/parser.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "server/http/connection.h"

namespace serval {

using SteadyClock = std::chrono::steady_clock;

enum class Phase { kHandshake, kHead, kBody, kAnswer, kLinger, kClosed };

class HttpConnection final : public Connection,
                             public std::enable_shared_from_this<HttpConnection> {
 public:
  HttpConnection(Socket socket, const ConnectionEnv& env, ConnectionStart start)
      : env_(env),
        start_(std::move(start)),
        stream_(std::move(socket), start_.tls),
        phase_timer_(stream_.get_executor()),
        write_timer_(stream_.get_executor()),
        ping_timer_(stream_.get_executor()) {
    ++env_.counts.open;
  }
  ~HttpConnection() override { --env_.counts.open; }

  void start();
  void drain() override;

  // ---- called by the exchange
  auto executor() { return stream_.get_executor(); }
  bool serves(uint64_t serial) const { return serial == serial_ && phase_ == Phase::kAnswer; }
  bool stream_begun() const { return stream_begun_; }
  void reply(HttpResponse response);
  void expect_stream();
  void send(std::string events);
  void end_stream();
  void on_backlog(std::function<void(bool behind)> action);
  void on_disconnect(std::function<void()> action) { on_disconnect_ = std::move(action); }

 private:
  void handshake();
  void await_request(std::chrono::milliseconds time);
  void read();
  void on_read(boost::system::error_code error, size_t size);
  void advance();
  bool parse_head();
  bool parse_body();
  void on_head_complete();
  void answer_request();
  void refuse(int status, std::string_view reason, std::optional<Limit> limit = {});
  void arm_phase_timer(std::chrono::milliseconds time);
  void on_phase_timeout();
  void arm_ping();
  void begin_stream();
  void append_stream(std::string_view data);
  size_t unsent() const { return out_.size() + writing_.size() - written_; }
  void set_behind(bool behind);
  void write();
  void on_written(boost::system::error_code error, size_t size);
  void answer_complete();
  bool stays_open();
  void account();
  void linger();
  void client_left();
  void close();

  const ConnectionEnv env_;
  const ConnectionStart start_;
  Stream stream_;
  boost::asio::steady_timer phase_timer_, write_timer_, ping_timer_;

  Phase phase_ = Phase::kHead;
  uint64_t serial_ = 0;
  int served_ = 0;
  const SteadyClock::time_point accepted_ = SteadyClock::now();
  bool close_after_ = false;
  bool reading_ = false;

  std::array<char, 4 * 1024> chunk_;
  std::string in_;  // received, not yet parsed
  size_t lingered_ = 0;
  std::optional<boost::beast::http::request_parser<ChargedBody>> parser_;

  std::shared_ptr<HttpRequest> request_ = std::make_shared<HttpRequest>();
  std::string id_, key_name_;
  HeaderList extra_headers_;
  int status_ = 0;
  SteadyClock::time_point begun_;
  std::function<void()> on_disconnect_;
  std::function<void(bool)> on_backlog_;
  bool behind_ = false;  // more is unsent than the pause limit

  bool streaming_ = false;  // expect_stream() was called
  bool stream_begun_ = false;
  bool answer_ended_ = false;  // nothing more will be appended to out_
  bool writing_now_ = false;
  std::string out_, writing_;
  size_t written_ = 0;
  SteadyClock::time_point last_output_;
};

// Work for a request goes through `connection` as long as it still is at this request.
ExchangePtr make_exchange(std::shared_ptr<HttpConnection> connection, uint64_t serial,
                          std::shared_ptr<HttpRequest> request, std::string id,
                          std::string key_name);

}  // namespace serval
