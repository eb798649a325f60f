// The life of a connection is a loop over four phases, after a handshake when there is TLS:
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

#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <random>
#include <utility>

#include "server/http/head_screen.h"
#include "server/http/http_connection.h"

namespace serval {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;

constexpr size_t kReadAhead = 64 * 1024;  // bytes of later requests kept while we answer
constexpr size_t kLingerBytes = 32 * 1024 * 1024;
constexpr size_t kLongestRequestId = 64;
constexpr auto kDrainPatience = std::chrono::milliseconds(500);

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

void take_head(const http::request<ChargedBody>& message, HttpRequest& out) {
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
  if (percent_decode(target.substr(0, mark), out.path)) return true;
  out.path.clear();  // what is no text must reach no log
  return false;
}

}  // namespace

void HttpConnection::start() {
  asio::post(stream_.get_executor(), [self = shared_from_this()] {
    if (self->stream_.secure()) {
      self->handshake();
      return;
    }
    self->await_request(self->env_.limits.head_time);
    self->read();
  });
}

void HttpConnection::handshake() {
  phase_ = Phase::kHandshake;
  arm_phase_timer(env_.limits.handshake_time);
  stream_.async_handshake([self = shared_from_this()](error_code error) {
    if (self->phase_ == Phase::kClosed) return;
    if (error) {
      ++self->env_.counts.handshakes_failed;
      self->close();
      return;
    }
    self->await_request(self->env_.limits.head_time);
    self->read();
  });
}

void HttpConnection::drain() {
  asio::post(stream_.get_executor(), [self = shared_from_this()] {
    self->close_after_ = true;
    // A new connection is given a moment: a load balancer's probe shall hear 503, not a reset.
    const bool fresh = self->served_ == 0 && SteadyClock::now() - self->accepted_ < kDrainPatience;
    const bool waits =
        self->phase_ == Phase::kHandshake || (self->phase_ == Phase::kHead && self->in_.empty());
    if (waits && !fresh) self->close();
  });
}

// ---- Reading

void HttpConnection::await_request(std::chrono::milliseconds time) {
  phase_ = Phase::kHead;
  ++serial_;
  parser_.reset();
  request_ = std::make_shared<HttpRequest>();
  request_->local = start_.local;
  id_.clear();
  begun_ = {};
  extra_headers_.clear();
  key_name_.clear();
  on_disconnect_ = nullptr;
  on_backlog_ = nullptr;
  streaming_ = stream_begun_ = answer_ended_ = false;
  status_ = 0;
  arm_phase_timer(time);
}

void HttpConnection::read() {
  if (reading_ || phase_ == Phase::kClosed) return;
  if (phase_ == Phase::kAnswer && in_.size() >= kReadAhead) return;
  reading_ = true;
  stream_.async_read_some(asio::buffer(chunk_),
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
    refuse(refusal->status, refusal->reason, refusal->limit);
    return false;
  }
  if (head_size == 0) return false;
  parser_.emplace();
  parser_->header_limit(static_cast<uint32_t>(head_size + 1));
  parser_->body_limit(in_.starts_with("PUT ") ? env_.limits.upload_bytes : env_.limits.body_bytes);
  parser_->get().body().charge = BodyCharge(env_.counts.body_bytes, env_.limits.body_memory);
  error_code error;
  parser_->put(asio::buffer(in_.data(), head_size), error);
  if (error && error != http::error::need_more) {
    if (error == http::error::body_limit) {
      refuse(413, "the body is too large", Limit::kBodyBytes);
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
  if (start_.over_limit) {
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
        refuse(413, "the body is too large", Limit::kBodyBytes);
      } else if (error == boost::system::errc::not_enough_memory) {
        refuse(503, "too many request bodies are in memory; try again", Limit::kBodyMemory);
      } else {
        refuse(400, "the body is malformed");
      }
      return false;
    }
  }
  return parser_->is_done();
}

void HttpConnection::answer_request() {
  request_->body = std::move(parser_->get().body().bytes);
  request_->body_charge = std::move(parser_->get().body().charge);
  parser_.reset();
  phase_ = Phase::kAnswer;
  phase_timer_.cancel();
  env_.handler.handle(make_exchange(shared_from_this(), serial_, request_, id_, key_name_));
}

// The client broke the protocol: where its next request begins is unknown, so this is the end.
void HttpConnection::refuse(int status, std::string_view reason, std::optional<Limit> limit) {
  if (limit) env_.counts.hit(*limit);
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
    case Phase::kHandshake:
      env_.counts.hit(Limit::kHandshakeTime);
      close();
      return;
    case Phase::kHead:
      if (in_.empty()) {
        env_.counts.hit(Limit::kIdleTime);
        close();
      } else {
        refuse(408, "the head of the request did not arrive in time", Limit::kHeadTime);
      }
      return;
    case Phase::kBody:
      refuse(408, "the body of the request did not arrive in time", Limit::kBodyTime);
      return;
    case Phase::kLinger:
      close();
      return;
    case Phase::kAnswer:
    case Phase::kClosed:
      return;
  }
}

// ---- The end

void HttpConnection::linger() {
  phase_ = Phase::kLinger;
  in_.clear();
  stream_.end_output([self = shared_from_this()](error_code) {});
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
  stream_.close();
}

std::shared_ptr<Connection> start_connection(Socket socket, const ConnectionEnv& env,
                                             ConnectionStart start) {
  auto connection = std::make_shared<HttpConnection>(std::move(socket), env, std::move(start));
  connection->start();
  return connection;
}

}  // namespace serval
