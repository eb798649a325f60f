// A request is written in one piece; the reply is parsed as it comes. Server-sent events (WHATWG
// HTML, "Server-sent events"): lines, `data:` lines of one event joined by newlines, a blank line
// ends the event, a line that begins with a colon is a comment. The data of an event is one JSON
// chunk of the OpenAI protocol; a piece of text counts when it is not empty. Tokens are counted
// from `usage` alone, because a chunk may carry several.
#include "serve/exchange.h"

#include <fmt/format.h>

#include <utility>

namespace bench {
namespace {

namespace json = boost::json;
namespace http = boost::beast::http;

constexpr size_t kReadBytes = 16384;

std::string_view string_at(const json::object& object, const char* name) {
  const json::value* value = object.if_contains(name);
  const json::string* text = value != nullptr ? value->if_string() : nullptr;
  return text != nullptr ? std::string_view(*text) : std::string_view();
}

const json::object* object_at(const json::object& object, const char* name) {
  const json::value* value = object.if_contains(name);
  return value != nullptr ? value->if_object() : nullptr;
}

int int_at(const json::object& object, const char* name) {
  const json::value* value = object.if_contains(name);
  if (value == nullptr || !value->is_number()) return 0;
  return value->to_number<int>();
}

const json::object* first_choice(const json::object& reply) {
  const json::value* value = reply.if_contains("choices");
  const json::array* choices = value != nullptr ? value->if_array() : nullptr;
  if (choices == nullptr || choices->empty()) return nullptr;
  return choices->front().if_object();
}

std::string_view text_of(const json::object& choice) {
  for (const char* part : {"delta", "message"}) {
    const json::object* inner = object_at(choice, part);
    if (inner == nullptr) continue;
    const std::string_view content = string_at(*inner, "content");
    return !content.empty() ? content : string_at(*inner, "reasoning_content");
  }
  return string_at(choice, "text");
}

}  // namespace

Exchange::Exchange(Shared& shared, Ask ask, Result result, Done done)
    : shared_(shared),
      ask_(std::move(ask)),
      result_(std::move(result)),
      done_(std::move(done)),
      limit_(shared.io),
      hang_up_timer_(shared.io) {}

void Exchange::start() {
  result_.start = shared_.now();
  const auto self = shared_from_this();
  limit_.expires_after(std::chrono::duration_cast<Clock::duration>(
      std::chrono::duration<double>(shared_.timeout_s)));
  limit_.async_wait([self](Code code) {
    if (!code) self->fail("timed out");
  });
  if (ask_.hang_up_after_s) {
    hang_up_timer_.expires_after(std::chrono::duration_cast<Clock::duration>(
        std::chrono::duration<double>(*ask_.hang_up_after_s)));
    hang_up_timer_.async_wait([self](Code code) {
      if (!code) self->hang_up();
    });
  }
  request_ = fmt::format("{} {} HTTP/1.1\r\nHost: {}\r\n", ask_.get ? "GET" : "POST", ask_.target,
                         shared_.host);
  if (!shared_.api_key.empty()) request_ += "Authorization: Bearer " + shared_.api_key + "\r\n";
  if (!shared_.keep_alive) request_ += "Connection: close\r\n";
  if (!ask_.get) {
    request_ +=
        fmt::format("Content-Type: application/json\r\nContent-Length: {}\r\n", ask_.body.size());
  }
  request_ += "\r\n" + ask_.body;
  if (shared_.keep_alive && !shared_.idle.empty()) {
    socket_ = std::move(shared_.idle.back());
    shared_.idle.pop_back();
    reused_ = true;
    send();
  } else {
    connect();
  }
}

void Exchange::connect() {
  socket_ = std::make_unique<Tcp::socket>(shared_.io);
  socket_->async_connect(shared_.endpoint, [self = shared_from_this()](Code code) {
    if (self->ended_) return;
    if (code) return self->fail("connect: " + code.message());
    self->socket_->set_option(Tcp::no_delay(true), code);
    self->send();
  });
}

void Exchange::send() {
  parser_.emplace();
  parser_->eager(true);
  parser_->body_limit(boost::none);
  asio::async_write(*socket_, asio::buffer(request_),
                    [self = shared_from_this()](Code code, size_t) {
                      if (self->ended_) return;
                      if (self->lost_idle_connection(code)) {
                        self->reused_ = false;
                        return self->connect();
                      }
                      // A refusal may arrive while we still send: read it all the same.
                      self->read();
                    });
}

// Not http::async_read_some: after a chunk it waits for the head of the next one before it returns.
void Exchange::read() {
  socket_->async_read_some(buffer_.prepare(kReadBytes),
                           [self = shared_from_this()](Code code, size_t bytes) {
                             self->buffer_.commit(bytes);
                             self->on_read(code);
                           });
}

// Parses all that has arrived. False when it is no HTTP.
bool Exchange::parse() {
  Code code;
  while (buffer_.size() > 0 && !parser_->is_done()) {
    const size_t used = parser_->put(buffer_.data(), code);
    buffer_.consume(used);
    if (code == http::error::need_more) return true;
    if (code) {
      fail("reply: " + code.message());
      return false;
    }
    if (used == 0) return true;
  }
  return true;
}

bool Exchange::lost_idle_connection(Code code) const {
  return code && reused_ && result_.status == 0;
}

void Exchange::on_read(Code code) {
  if (ended_) return;
  if (lost_idle_connection(code)) {
    reused_ = false;
    buffer_.clear();
    return connect();
  }
  if (code == asio::error::eof) {
    Code at_end;
    parser_->put_eof(at_end);  // an answer may end with its connection
    if (!at_end && parser_->is_done()) code = {};
  } else if (!code && !parse()) {
    return;
  }
  if (parser_->is_header_done() && result_.status == 0) {
    result_.status = parser_->get().result_int();
    const auto type = parser_->get()[http::field::content_type];
    stream_ = std::string_view(type.data(), type.size()).starts_with("text/event-stream");
  }
  if (code) return fail("read: " + code.message());
  if (stream_) take_body();
  if (ended_) return;
  if (!parser_->is_done()) return read();
  if (!stream_) take_whole_reply();
  if (!ended_) finish();
}

void Exchange::take_body() {
  pending_ += parser_->get().body();
  parser_->get().body().clear();
  size_t begin = 0;
  for (size_t end = pending_.find('\n'); end != std::string::npos && !ended_;
       end = pending_.find('\n', begin)) {
    std::string_view line(pending_.data() + begin, end - begin);
    if (line.ends_with('\r')) line.remove_suffix(1);
    begin = end + 1;
    take_line(line);
  }
  pending_.erase(0, begin);
}

void Exchange::take_line(std::string_view line) {
  if (line.empty()) {
    const std::string data = std::exchange(event_, {});
    if (!data.empty()) take_event(data);
  } else if (line.starts_with("data:")) {
    line.remove_prefix(5);
    if (line.starts_with(' ')) line.remove_prefix(1);
    if (!event_.empty()) event_ += '\n';
    event_ += line;
  }
}

void Exchange::take_event(std::string_view data) {
  if (data == "[DONE]") {
    result_.complete = true;
    return;
  }
  Code code;
  const json::value value = json::parse(data, code);
  const json::object* chunk = value.if_object();
  if (code || chunk == nullptr) return fail("an event that is not a JSON object");
  if (const json::object* error = object_at(*chunk, "error")) {
    return fail(std::string(string_at(*error, "message")));
  }
  if (const json::object* choice = first_choice(*chunk)) {
    take_text(text_of(*choice));
    const std::string_view reason = string_at(*choice, "finish_reason");
    if (!reason.empty()) result_.finish = reason;
  }
  take_usage(*chunk);
}

void Exchange::take_text(std::string_view text) {
  if (text.empty()) return;
  const double now = shared_.now();
  if (result_.pieces == 0) {
    result_.first = now;
  } else {
    result_.gaps.push_back(now - result_.last);
  }
  result_.last = now;
  ++result_.pieces;
  result_.text += text;
  if (ask_.hang_up_after_tokens && result_.pieces >= *ask_.hang_up_after_tokens) hang_up();
}

void Exchange::take_usage(const json::object& reply) {
  if (const json::object* usage = object_at(reply, "usage")) {
    result_.prompt_tokens = int_at(*usage, "prompt_tokens");
    result_.completion_tokens = int_at(*usage, "completion_tokens");
    if (const json::object* details = object_at(*usage, "prompt_tokens_details")) {
      result_.cached_tokens = int_at(*details, "cached_tokens");
    }
  }
  if (const json::object* timings = object_at(reply, "timings")) {
    if (result_.cached_tokens == 0) result_.cached_tokens = int_at(*timings, "cache_n");
  }
}

void Exchange::take_whole_reply() {
  const std::string& body = parser_->get().body();
  if (ask_.get) {
    result_.complete = result_.status == 200;
    return;
  }
  Code code;
  const json::value value = json::parse(body, code);
  const json::object* reply = value.if_object();
  if (code || reply == nullptr) return fail("a reply that is not a JSON object");
  if (const json::object* error = object_at(*reply, "error")) {
    return fail(std::string(string_at(*error, "message")));
  }
  if (const json::object* choice = first_choice(*reply)) {
    take_text(text_of(*choice));
    result_.finish = string_at(*choice, "finish_reason");
  }
  take_usage(*reply);
  result_.complete = result_.status == 200;
}

void Exchange::hang_up() {
  if (ended_) return;
  result_.hung_up = true;
  Code ignored;
  socket_->close(ignored);
  finish();
}

void Exchange::finish() {
  ended_ = true;
  limit_.cancel();
  hang_up_timer_.cancel();
  result_.end = shared_.now();
  if (!result_.complete && !result_.hung_up && result_.error.empty()) {
    result_.error = fmt::format("the answer ended early, status {}", result_.status);
  }
  if (result_.error.empty() && !result_.hung_up && shared_.keep_alive && parser_->keep_alive()) {
    shared_.idle.push_back(std::move(socket_));
  }
  done_(std::move(result_));
}

void Exchange::fail(std::string what) {
  if (ended_) return;
  result_.error = what.empty() ? "failed without a message" : std::move(what);
  // A refused request leaves its connection as good as new.
  const bool whole = parser_ && parser_->is_done() && parser_->keep_alive();
  Code ignored;
  if (whole && shared_.keep_alive) {
    shared_.idle.push_back(std::move(socket_));
  } else {
    socket_->close(ignored);
  }
  finish();
}

}  // namespace bench
