// Everything a connection sends goes through one pending buffer and one write at a time: pieces of
// a stream that come while a write is under way leave together with the next one. What waits there
// is bounded: past the pause limit the request is told to stop computing, and to go on once half of
// that has left. A reader that takes nothing for a while is dropped, which cancels the request.
#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <utility>

#include "server/http/http_connection.h"
#include "server/http/sse.h"

namespace serval {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

constexpr size_t kWriteBytes = 64 * 1024;  // one write's share: the stall timer sees progress

// Outlives its connection's interest in it; `serial` tells whether the connection still works on
// this request.
class ConnectionExchange final : public Exchange {
 public:
  ConnectionExchange(std::shared_ptr<HttpConnection> connection, uint64_t serial,
                     std::shared_ptr<HttpRequest> request, std::string id, std::string key_name)
      : connection_(std::move(connection)),
        serial_(serial),
        request_(std::move(request)),
        id_(std::move(id)),
        key_name_(std::move(key_name)) {}

  const HttpRequest& request() const override { return *request_; }
  const std::string& id() const override { return id_; }
  const std::string& key_name() const override { return key_name_; }
  void post(std::function<void()> work) override;
  void reply(HttpResponse response) override;
  void expect_stream() override;
  bool stream_begun() const override;
  void send(std::string events) override;
  void end_stream() override;
  void on_backlog(std::function<void(bool behind)> action) override;
  void forget_body() override;
  void on_disconnect(std::function<void()> action) override;

 private:
  std::shared_ptr<HttpConnection> connection_;
  const uint64_t serial_;
  const std::shared_ptr<HttpRequest> request_;
  const std::string id_, key_name_;
};

}  // namespace

// ---- Answering

void HttpConnection::reply(HttpResponse response) {
  if (stream_begun_ || answer_ended_) return;
  status_ = response.status;
  ping_timer_.cancel();
  phase_timer_.cancel();
  ReplyFraming framing;
  framing.length = response.body.size();
  framing.has_length = response.status != 204 && response.status != 304;
  close_after_ = !stays_open();
  framing.close = close_after_;
  HeaderList headers = std::move(response.headers);
  headers.emplace_back("x-request-id", id_);
  headers.insert(headers.end(), extra_headers_.begin(), extra_headers_.end());
  out_ += reply_head(response.status, response.content_type, headers, framing);
  if (request_->method != "HEAD") out_ += response.body;
  answer_ended_ = true;
  write();
}

void HttpConnection::expect_stream() {
  streaming_ = true;
  ++env_.counts.streams;
  last_output_ = SteadyClock::now();
  arm_ping();
}

void HttpConnection::arm_ping() {
  ping_timer_.expires_at(last_output_ + env_.limits.ping_time);
  ping_timer_.async_wait([self = shared_from_this(), serial = serial_](error_code error) {
    if (error || !self->serves(serial) || self->answer_ended_) return;
    const bool silent = SteadyClock::now() - self->last_output_ >= self->env_.limits.ping_time;
    if (silent && self->unsent() == 0) {
      self->send(std::string(kSsePing));
    }
    self->arm_ping();
  });
}

void HttpConnection::begin_stream() {
  stream_begun_ = true;
  status_ = 200;
  ReplyFraming framing;
  framing.has_length = false;
  framing.chunked = request_->http11;
  close_after_ = !stays_open() || !request_->http11;
  framing.close = close_after_;
  HeaderList headers = {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}};
  headers.emplace_back("x-request-id", id_);
  headers.insert(headers.end(), extra_headers_.begin(), extra_headers_.end());
  out_ += reply_head(200, "text/event-stream; charset=utf-8", headers, framing);
}

void HttpConnection::append_stream(std::string_view data) {
  if (!request_->http11) {
    out_ += data;
    return;
  }
  out_ += fmt::format("{:x}\r\n", data.size());
  out_ += data;
  out_ += "\r\n";
}

void HttpConnection::send(std::string events) {
  if (answer_ended_ || events.empty()) return;
  if (!stream_begun_) begin_stream();
  append_stream(events);
  last_output_ = SteadyClock::now();
  if (unsent() > env_.limits.output_bytes) {
    env_.counts.hit(Limit::kOutputBytes);
    client_left();
    return;
  }
  write();
  if (!behind_ && unsent() > env_.limits.pause_bytes) set_behind(true);
}

void HttpConnection::set_behind(bool behind) {
  behind_ = behind;
  if (behind) env_.counts.hit(Limit::kPauseBytes);
  env_.counts.paused += behind ? 1 : -1;
  if (on_backlog_) on_backlog_(behind);
}

void HttpConnection::on_backlog(std::function<void(bool)> action) {
  on_backlog_ = std::move(action);
  if (behind_ && on_backlog_) on_backlog_(true);
}

void HttpConnection::end_stream() {
  if (answer_ended_) return;
  if (!stream_begun_) begin_stream();
  ping_timer_.cancel();
  if (request_->http11) out_ += "0\r\n\r\n";
  answer_ended_ = true;
  write();
}

// ---- Writing

void HttpConnection::write() {
  if (writing_now_ || phase_ == Phase::kClosed) return;
  if (written_ == writing_.size()) {
    writing_.clear();
    std::swap(writing_, out_);
    written_ = 0;
  }
  if (writing_.empty()) {
    if (answer_ended_) answer_complete();
    return;
  }
  writing_now_ = true;
  write_timer_.expires_after(env_.limits.stall_time);
  write_timer_.async_wait([self = shared_from_this()](error_code error) {
    if (error || !self->writing_now_ || self->write_timer_.expiry() > SteadyClock::now()) return;
    self->env_.counts.hit(Limit::kStallTime);
    self->client_left();
  });
  const size_t size = std::min(writing_.size() - written_, kWriteBytes);
  stream_.async_write_some(asio::buffer(writing_.data() + written_, size),
                           [self = shared_from_this()](error_code error, size_t written) {
                             self->on_written(error, written);
                           });
}

void HttpConnection::on_written(error_code error, size_t size) {
  writing_now_ = false;
  write_timer_.cancel();
  if (phase_ == Phase::kClosed) return;
  if (error) {
    client_left();
    return;
  }
  written_ += size;
  write();
  if (behind_ && unsent() <= env_.limits.pause_bytes / 2) set_behind(false);
}

void HttpConnection::answer_complete() {
  if (phase_ != Phase::kAnswer) return;
  account();
  ++served_;
  if (close_after_) {
    linger();
    return;
  }
  await_request(in_.empty() ? env_.limits.idle_time : env_.limits.head_time);
  advance();  // the next request may already be here
  read();
}

bool HttpConnection::stays_open() {
  if (close_after_ || !request_->keep_alive || env_.handler.draining()) return false;
  if (served_ + 1 < env_.limits.requests_per_connection) return true;
  env_.counts.hit(Limit::kConnectionRequests);
  return false;
}

void HttpConnection::account() {
  on_disconnect_ = nullptr;
  on_backlog_ = nullptr;
  if (behind_) set_behind(false);
  if (streaming_) --env_.counts.streams;
  streaming_ = false;
  const std::chrono::duration<double> time = SteadyClock::now() - begun_;
  env_.handler.finished(*request_, id_, key_name_, status_, time.count());
}

// ---- Exchange

void ConnectionExchange::post(std::function<void()> work) {
  asio::post(connection_->executor(), std::move(work));
}

void ConnectionExchange::reply(HttpResponse response) {
  if (connection_->serves(serial_)) connection_->reply(std::move(response));
}

void ConnectionExchange::expect_stream() {
  if (connection_->serves(serial_)) connection_->expect_stream();
}

bool ConnectionExchange::stream_begun() const {
  return connection_->serves(serial_) && connection_->stream_begun();
}

void ConnectionExchange::send(std::string events) {
  if (connection_->serves(serial_)) connection_->send(std::move(events));
}

void ConnectionExchange::end_stream() {
  if (connection_->serves(serial_)) connection_->end_stream();
}

void ConnectionExchange::on_backlog(std::function<void(bool behind)> action) {
  if (connection_->serves(serial_)) connection_->on_backlog(std::move(action));
}

void ConnectionExchange::forget_body() {
  std::string().swap(request_->body);
  request_->body_charge.release();
}

void ConnectionExchange::on_disconnect(std::function<void()> action) {
  if (connection_->serves(serial_)) {
    connection_->on_disconnect(std::move(action));
  } else {
    action();
  }
}

ExchangePtr make_exchange(std::shared_ptr<HttpConnection> connection, uint64_t serial,
                          std::shared_ptr<HttpRequest> request, std::string id,
                          std::string key_name) {
  return std::make_shared<ConnectionExchange>(std::move(connection), serial, std::move(request),
                                              std::move(id), std::move(key_name));
}

}  // namespace serval
