// The life of a connection is a loop over four phases:
//   head -> body -> answer -> (head | linger)
// One read is always outstanding (unless the client runs far ahead of us), so a client that leaves
// is noticed in every phase, also while its request is queued or computed. Bytes are parsed by
// Beast, after screen_head() has refused what Beast would forgive. One timer guards the phase, one
// the write in progress, one sends comment pings on silent streams.
//
// A refused request is answered before its body was read. The connection then lingers: it stops
// sending and swallows a bounded amount, because closing with unread bytes would make the kernel
// reset the connection and destroy the answer on its way.
#include "server/http/connection.h"

#include <fmt/format.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <optional>
#include <random>
#include <utility>

#include "server/http/head_screen.h"
#include "server/http/sse.h"

namespace serval {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;
using SteadyClock = std::chrono::steady_clock;
using Parser = http::request_parser<http::string_body>;

constexpr size_t kReadBytes = 16 * 1024;
constexpr size_t kReadAhead = 64 * 1024;   // bytes of later requests kept while we answer
constexpr size_t kWriteBytes = 64 * 1024;  // one write's share: the stall timer sees progress
constexpr size_t kLingerBytes = 32 * 1024 * 1024;
constexpr size_t kLongestRequestId = 64;

bool usable_request_id(std::string_view id) {
  if (id.empty() || id.size() > kLongestRequestId) return false;
  for (const char c : id) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_' || c == '.';
    if (!plain) return false;
  }
  return true;
}

std::string fresh_request_id() {
  static thread_local std::mt19937_64 random{std::random_device{}()};
  return fmt::format("req_{:016x}{:08x}", random(), static_cast<uint32_t>(random()));
}

void take_head(const Parser::value_type& message, HttpRequest& out) {
  out.method = std::string(message.method_string());
  out.http11 = message.version() == 11;
  out.keep_alive = message.keep_alive();
  for (const auto& field : message) {
    std::string name(field.name_string());
    for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    out.headers.emplace_back(std::move(name), std::string(field.value()));
  }
}

// Only the origin form ("/path?query") and "*" mean something to a server that is no proxy.
bool take_target(std::string_view target, HttpRequest& out) {
  if (target.empty() || (target.front() != '/' && target != "*")) return false;
  const size_t mark = target.find('?');
  if (mark != std::string_view::npos) out.query = std::string(target.substr(mark + 1));
  return percent_decode(target.substr(0, mark), out.path);
}

enum class Phase { kHead, kBody, kAnswer, kLinger, kClosed };

class HttpConnection;

// The exchange of one request. Outlives its connection's interest in it; `serial` tells whether
// the connection still works on this request.
class ConnectionExchange final : public Exchange {
 public:
  ConnectionExchange(std::shared_ptr<HttpConnection> connection, uint64_t serial,
                     std::shared_ptr<const HttpRequest> request, std::string id,
                     std::string key_name)
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
  void on_disconnect(std::function<void()> action) override;

 private:
  std::shared_ptr<HttpConnection> connection_;
  const uint64_t serial_;
  const std::shared_ptr<const HttpRequest> request_;
  const std::string id_, key_name_;
};

class HttpConnection final : public Connection,
                             public std::enable_shared_from_this<HttpConnection> {
 public:
  HttpConnection(Socket socket, const ConnectionEnv& env, bool over_limit)
      : env_(env),
        over_limit_(over_limit),
        socket_(std::move(socket)),
        phase_timer_(socket_.get_executor()),
        write_timer_(socket_.get_executor()),
        ping_timer_(socket_.get_executor()) {
    ++env_.counts.open;
  }
  ~HttpConnection() override { --env_.counts.open; }

  void start() {
    asio::post(socket_.get_executor(), [self = shared_from_this()] {
      self->await_request(self->env_.limits.head_time);
      self->read();
    });
  }
  void drain() override {
    asio::post(socket_.get_executor(), [self = shared_from_this()] {
      self->close_after_ = true;
      if (self->phase_ == Phase::kHead && self->in_.empty()) self->close();
    });
  }

  // ---- called by the exchange
  auto executor() { return socket_.get_executor(); }
  bool serves(uint64_t serial) const { return serial == serial_ && phase_ == Phase::kAnswer; }
  bool stream_begun() const { return stream_begun_; }
  void reply(HttpResponse response);
  void expect_stream();
  void send(std::string events);
  void end_stream();
  void on_disconnect(std::function<void()> action) { on_disconnect_ = std::move(action); }

 private:
  void await_request(std::chrono::milliseconds time);
  void read();
  void on_read(error_code error, size_t size);
  void advance();
  bool parse_head();
  bool parse_body();
  void on_head_complete();
  void answer_request();
  void refuse(int status, std::string_view reason);
  void arm_phase_timer(std::chrono::milliseconds time);
  void on_phase_timeout();
  void arm_ping();
  void begin_stream();
  void append_stream(std::string_view data);
  void write();
  void on_written(error_code error, size_t size);
  void answer_complete();
  bool stays_open() const;
  void account();
  void linger();
  void client_left();
  void close();

  const ConnectionEnv env_;
  const bool over_limit_;
  Socket socket_;
  asio::steady_timer phase_timer_, write_timer_, ping_timer_;

  Phase phase_ = Phase::kHead;
  uint64_t serial_ = 0;
  int served_ = 0;
  bool close_after_ = false;
  bool reading_ = false;

  std::array<char, kReadBytes> chunk_;
  std::string in_;  // received, not yet parsed
  size_t lingered_ = 0;
  std::optional<Parser> parser_;

  std::shared_ptr<HttpRequest> request_ = std::make_shared<HttpRequest>();
  std::string id_, key_name_;
  HeaderList extra_headers_;
  int status_ = 0;
  SteadyClock::time_point begun_;
  std::function<void()> on_disconnect_;

  bool streaming_ = false;  // expect_stream() was called
  bool stream_begun_ = false;
  bool answer_ended_ = false;  // nothing more will be appended to out_
  bool writing_now_ = false;
  std::string out_, writing_;
  size_t written_ = 0;
  SteadyClock::time_point last_output_;
};

// ---- Reading

void HttpConnection::await_request(std::chrono::milliseconds time) {
  phase_ = Phase::kHead;
  ++serial_;
  parser_.reset();
  request_ = std::make_shared<HttpRequest>();
  id_.clear();
  begun_ = {};
  extra_headers_.clear();
  key_name_.clear();
  on_disconnect_ = nullptr;
  streaming_ = stream_begun_ = answer_ended_ = false;
  status_ = 0;
  arm_phase_timer(time);
}

void HttpConnection::read() {
  if (reading_ || phase_ == Phase::kClosed) return;
  if (phase_ == Phase::kAnswer && in_.size() >= kReadAhead) return;
  reading_ = true;
  socket_.async_read_some(asio::buffer(chunk_),
                          [self = shared_from_this()](error_code error, size_t size) {
                            self->reading_ = false;
                            self->on_read(error, size);
                          });
}

void HttpConnection::on_read(error_code error, size_t size) {
  if (phase_ == Phase::kClosed) return;
  if (error) {
    client_left();
    return;
  }
  if (phase_ == Phase::kLinger) {
    lingered_ += size;
    if (lingered_ > kLingerBytes) {
      close();
      return;
    }
  } else {
    if (phase_ == Phase::kHead && in_.empty() && served_ > 0) {
      arm_phase_timer(env_.limits.head_time);  // the idle wait is over
    }
    in_.append(chunk_.data(), size);
    advance();
  }
  read();
}

void HttpConnection::advance() {
  if (phase_ == Phase::kHead && parse_head()) on_head_complete();
  if (phase_ == Phase::kBody && parse_body()) answer_request();
}

// True once a head is parsed into request_.
bool HttpConnection::parse_head() {
  if (in_.starts_with("\r\n")) in_.erase(0, 2);  // one stray line end after a body is customary
  if (in_.empty() || in_ == "\r") return false;
  size_t head_size = 0;
  const auto refusal = screen_head(in_, env_.limits, head_size);
  if (begun_ == SteadyClock::time_point()) begun_ = SteadyClock::now();
  if (refusal) {
    refuse(refusal->status, refusal->reason);
    return false;
  }
  if (head_size == 0) return false;
  parser_.emplace();
  parser_->header_limit(static_cast<uint32_t>(head_size + 1));
  parser_->body_limit(env_.limits.body_bytes);
  error_code error;
  parser_->put(asio::buffer(in_.data(), head_size), error);
  if (error && error != http::error::need_more) {
    if (error == http::error::body_limit) {
      refuse(413, "the body is too large");
    } else if (error == http::error::bad_version) {
      refuse(505, "only HTTP/1.0 and HTTP/1.1 are spoken here");
    } else {
      refuse(400, "the head of the request is malformed");
    }
    return false;
  }
  in_.erase(0, head_size);
  const auto& message = parser_->get();
  take_head(message, *request_);
  if (!take_target(std::string_view(message.target()), *request_)) {
    refuse(400, "the target of the request is malformed");
    return false;
  }
  if (request_->header_count("transfer-encoding") > 0 && !request_->http11) {
    refuse(400, "HTTP/1.0 knows no transfer codings");
    return false;
  }
  return true;
}

void HttpConnection::on_head_complete() {
  const std::string_view wanted = request_->header("x-request-id");
  id_ = usable_request_id(wanted) ? std::string(wanted) : fresh_request_id();
  if (over_limit_) {
    refuse(503, "too many connections");
    return;
  }
  Admission admission = env_.handler.admit(*request_);
  key_name_ = std::move(admission.key_name);
  extra_headers_ = std::move(admission.headers);
  if (admission.refusal) {
    phase_ = Phase::kAnswer;
    // Without a body in the way the connection can go on.
    close_after_ = close_after_ || !parser_->is_done();
    reply(std::move(*admission.refusal));
    return;
  }
  const std::string_view expectation = request_->header("expect");
  if (!expectation.empty() && expectation != "100-continue") {
    refuse(417, "the expectation cannot be met");
    return;
  }
  phase_ = Phase::kBody;
  arm_phase_timer(env_.limits.body_time);
  if (!expectation.empty() && in_.empty() && !parser_->is_done()) {
    out_ += "HTTP/1.1 100 Continue\r\n\r\n";
    write();
  }
}

// True once the whole body is in the parser.
bool HttpConnection::parse_body() {
  parser_->eager(true);
  while (!parser_->is_done() && !in_.empty()) {
    error_code error;
    const size_t used = parser_->put(asio::buffer(in_), error);
    in_.erase(0, used);
    if (error == http::error::need_more) {
      if (in_.size() > env_.limits.head_bytes) {  // an endless chunk extension or trailer
        refuse(400, "a chunk of the body is malformed");
      }
      return false;
    }
    if (error) {
      if (error == http::error::body_limit) {
        refuse(413, "the body is too large");
      } else {
        refuse(400, "the body is malformed");
      }
      return false;
    }
  }
  return parser_->is_done();
}

void HttpConnection::answer_request() {
  request_->body = std::move(parser_->get().body());
  parser_.reset();
  phase_ = Phase::kAnswer;
  phase_timer_.cancel();
  env_.handler.handle(
      std::make_shared<ConnectionExchange>(shared_from_this(), serial_, request_, id_, key_name_));
}

// The client broke the protocol: where its next request begins is unknown, so this is the end.
void HttpConnection::refuse(int status, std::string_view reason) {
  if (id_.empty()) id_ = fresh_request_id();
  phase_ = Phase::kAnswer;
  close_after_ = true;
  reply(env_.handler.refuse(status, reason));
}

// ---- Time

void HttpConnection::arm_phase_timer(std::chrono::milliseconds time) {
  phase_timer_.expires_after(time);
  phase_timer_.async_wait([self = shared_from_this()](error_code error) {
    if (!error && self->phase_timer_.expiry() <= SteadyClock::now()) self->on_phase_timeout();
  });
}

void HttpConnection::on_phase_timeout() {
  switch (phase_) {
    case Phase::kHead:
      if (in_.empty()) {
        close();
      } else {
        ++env_.counts.timeouts;
        refuse(408, "the head of the request did not arrive in time");
      }
      return;
    case Phase::kBody:
      ++env_.counts.timeouts;
      refuse(408, "the body of the request did not arrive in time");
      return;
    case Phase::kLinger:
      close();
      return;
    case Phase::kAnswer:
    case Phase::kClosed:
      return;
  }
}

// ---- Answering

void HttpConnection::reply(HttpResponse response) {
  if (stream_begun_ || answer_ended_) return;
  status_ = response.status;
  ping_timer_.cancel();
  phase_timer_.cancel();
  ReplyFraming framing;
  framing.length = response.body.size();
  framing.has_length = response.status != 204;
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
    if (SteadyClock::now() - self->last_output_ >= self->env_.limits.ping_time) {
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
  if (out_.size() > env_.limits.output_bytes) {
    ++env_.counts.overrun;
    client_left();
    return;
  }
  write();
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
    ++self->env_.counts.stalled;
    self->client_left();
  });
  const size_t size = std::min(writing_.size() - written_, kWriteBytes);
  socket_.async_write_some(asio::buffer(writing_.data() + written_, size),
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

bool HttpConnection::stays_open() const {
  return !close_after_ && request_->keep_alive &&
         served_ + 1 < env_.limits.requests_per_connection && !env_.handler.draining();
}

void HttpConnection::account() {
  on_disconnect_ = nullptr;
  if (streaming_) --env_.counts.streams;
  streaming_ = false;
  const std::chrono::duration<double> time = SteadyClock::now() - begun_;
  env_.handler.finished(*request_, id_, key_name_, status_, time.count());
}

void HttpConnection::linger() {
  phase_ = Phase::kLinger;
  in_.clear();
  error_code ignored;
  socket_.shutdown(Socket::shutdown_send, ignored);
  arm_phase_timer(env_.limits.linger_time);
  read();
}

void HttpConnection::client_left() {
  const bool answering = phase_ == Phase::kAnswer;
  close();
  if (!answering) return;
  status_ = 0;
  const auto action = std::exchange(on_disconnect_, nullptr);
  account();
  if (action) action();
}

void HttpConnection::close() {
  phase_ = Phase::kClosed;
  phase_timer_.cancel();
  write_timer_.cancel();
  ping_timer_.cancel();
  error_code ignored;
  socket_.close(ignored);
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

void ConnectionExchange::on_disconnect(std::function<void()> action) {
  if (connection_->serves(serial_)) {
    connection_->on_disconnect(std::move(action));
  } else {
    action();
  }
}

}  // namespace

std::shared_ptr<Connection> start_connection(Socket socket, const ConnectionEnv& env,
                                             bool over_limit) {
  auto connection = std::make_shared<HttpConnection>(std::move(socket), env, over_limit);
  connection->start();
  return connection;
}

}  // namespace serval
