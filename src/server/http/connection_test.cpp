// A real connection on one end of a socket pair, a script on the other: limits that are about
// bytes in flight, which a client over TCP cannot place exactly.
#include "server/http/connection.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <string>
#include <vector>

namespace serval {
namespace {

class Script final : public HttpHandler {
 public:
  Admission admit(const HttpRequest&) override { return {}; }
  void handle(const ExchangePtr& exchange) override {
    ++handled;
    body = exchange->request().body;
    on_request(exchange);
  }
  HttpResponse refuse(int status, std::string_view) override {
    HttpResponse response;
    response.status = status;
    return response;
  }
  void finished(const HttpRequest&, const std::string&, const std::string&, int status,
                double) override {
    statuses.push_back(status);
  }
  bool draining() const override { return false; }

  std::function<void(const ExchangePtr&)> on_request = [](const ExchangePtr& exchange) {
    exchange->reply({});
  };
  int handled = 0;
  std::string body;
  std::vector<int> statuses;
};

class ConnectionTest : public testing::Test {
 protected:
  ConnectionTest() {
    limits.linger_time = std::chrono::milliseconds(20);
    limits.idle_time = std::chrono::milliseconds(50);
  }
  ~ConnectionTest() override {
    for (const int client : clients) ::close(client);
  }

  // A connection of its own for every client.
  int connect() {
    int pair[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    boost::asio::local::stream_protocol::socket socket(io, boost::asio::local::stream_protocol(),
                                                       pair[1]);
    start_connection(Socket(std::move(socket)), {script, limits, counts});
    clients.push_back(pair[0]);
    return pair[0];
  }
  void run() {
    io.restart();
    io.run_for(std::chrono::milliseconds(10));
  }
  void write(int client, const std::string& bytes) {
    ASSERT_EQ(::send(client, bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
    run();
  }
  std::string read(int client) {
    std::string out(1 << 20, '\0');
    const ssize_t size = ::recv(client, out.data(), out.size(), MSG_DONTWAIT);
    out.resize(size > 0 ? static_cast<size_t>(size) : 0);
    return out;
  }
  uint64_t hits(Limit limit) const { return counts.limit_hits[static_cast<size_t>(limit)]; }

  HttpLimits limits;
  ConnectionCounts counts;
  Script script;
  boost::asio::io_context io;
  std::vector<int> clients;
};

std::string post(size_t length) {
  return "POST / HTTP/1.1\r\nContent-Length: " + std::to_string(length) + "\r\n\r\n";
}
const std::string kGet = "GET / HTTP/1.1\r\n\r\n";

TEST_F(ConnectionTest, BodiesOfAllRequestsShareOneBudget) {
  limits.body_memory = 1000;
  const int first = connect();
  write(first, post(601) + std::string(600, 'a'));  // waits for its last byte
  EXPECT_EQ(counts.body_bytes, 600U);
  for (const size_t size : {399, 400, 401}) {
    const int second = connect();
    write(second, post(size) + std::string(size, 'b'));
    const std::string reply = read(second);
    EXPECT_EQ(reply.substr(0, 12), size <= 400 ? "HTTP/1.1 200" : "HTTP/1.1 503") << size;
  }
  EXPECT_EQ(hits(Limit::kBodyMemory), 1U);
  EXPECT_EQ(script.handled, 2);
}

TEST_F(ConnectionTest, ADeclaredLengthCostsNothing) {
  limits.body_memory = 1000;
  write(connect(), post(1'000'000) + "abc");
  EXPECT_EQ(counts.body_bytes, 3U);
}

TEST_F(ConnectionTest, TheBudgetComesBackWhenTheBodyIsForgottenOrItsClientLeaves) {
  ExchangePtr held;
  script.on_request = [&](const ExchangePtr& exchange) { held = exchange; };
  const int client = connect();
  write(client, post(10) + "0123456789");
  EXPECT_EQ(counts.body_bytes, 10U);
  EXPECT_EQ(script.body, "0123456789");
  held->forget_body();
  EXPECT_EQ(counts.body_bytes, 0U);
  held->reply({});
  const int leaving = connect();
  write(leaving, post(10) + "01234");
  EXPECT_EQ(counts.body_bytes, 5U);
  ::shutdown(leaving, SHUT_RDWR);
  run();
  EXPECT_EQ(counts.body_bytes, 0U);
}

TEST_F(ConnectionTest, AReaderBehindByMoreThanTheLimitPausesItsRequest) {
  for (const int past : {-1, 0, 1}) {
    counts.paused = 0;
    std::vector<bool> calls;
    ExchangePtr held;
    script.on_request = [&](const ExchangePtr& exchange) {
      held = exchange;
      exchange->on_backlog([&](bool behind) { calls.push_back(behind); });
      exchange->expect_stream();
    };
    const int client = connect();
    write(client, kGet);
    // Fill the kernel's buffer first: what it does not take is what the connection counts.
    held->send(std::string(600'000, 'x'));
    run();
    ASSERT_EQ(calls, std::vector<bool>{true});
    size_t taken = 0;
    while (calls.size() == 1) {
      const size_t size = read(client).size();
      ASSERT_GT(size, 0U) << "never told to go on";
      taken += size;
      run();
    }
    EXPECT_EQ(calls, (std::vector<bool>{true, false}));
    while (const size_t size = read(client).size()) {
      taken += size;
      run();
    }
    EXPECT_GT(taken, 600'000U);
    EXPECT_EQ(counts.paused, 0);
    // Nothing is unsent now. One event, framed as a chunk (8 bytes more), before any byte leaves.
    held->send(std::string(limits.pause_bytes - 8 + static_cast<size_t>(past), 'y'));
    EXPECT_EQ(calls.size(), past == 1 ? 3U : 2U) << past;
    held->end_stream();
    run();
  }
}

TEST_F(ConnectionTest, AReaderWithoutProgressIsDroppedAndItsRequestTold) {
  limits.stall_time = std::chrono::milliseconds(30);
  bool left = false;
  std::vector<bool> calls;
  script.on_request = [&](const ExchangePtr& exchange) {
    exchange->on_backlog([&](bool behind) { calls.push_back(behind); });
    exchange->on_disconnect([&] { left = true; });
    exchange->expect_stream();
    exchange->send(std::string(900'000, 'x'));
  };
  write(connect(), kGet);
  EXPECT_EQ(calls, std::vector<bool>{true});
  EXPECT_FALSE(left);
  for (int i = 0; i < 10 && !left; ++i) run();
  EXPECT_TRUE(left);
  EXPECT_EQ(hits(Limit::kStallTime), 1U);
  EXPECT_EQ(counts.paused, 0);
  EXPECT_EQ(counts.streams, 0);
}

TEST_F(ConnectionTest, WhatIsSentToAPausedStreamIsBoundedToo) {
  limits.pause_bytes = 1000;
  limits.output_bytes = 2000;
  for (const int past : {-1, 0, 1}) {
    const uint64_t before = hits(Limit::kOutputBytes);
    script.on_request = [&](const ExchangePtr& exchange) {
      exchange->expect_stream();
      exchange->send(" ");  // the head and the first chunk: leave together, before the rest is sent
      exchange->post([&, exchange] {
        exchange->send(std::string(2000 - 7 + static_cast<size_t>(past), 'x'));
        exchange->end_stream();
      });
    };
    write(connect(), kGet);
    EXPECT_EQ(hits(Limit::kOutputBytes) - before, past == 1 ? 1U : 0U) << past;
  }
}

TEST_F(ConnectionTest, RequestsOfOneConnectionAreCounted) {
  limits.requests_per_connection = 3;
  for (const int requests : {2, 3, 4}) {
    script.handled = 0;
    const uint64_t before = hits(Limit::kConnectionRequests);
    const int client = connect();
    std::string all;
    for (int i = 0; i < requests; ++i) all += kGet;
    write(client, all);
    EXPECT_EQ(script.handled, std::min(requests, 3));
    EXPECT_EQ(hits(Limit::kConnectionRequests) - before, requests >= 3 ? 1U : 0U);
  }
}

TEST_F(ConnectionTest, TimesEndWhatWaits) {
  limits.head_time = limits.body_time = limits.idle_time = std::chrono::milliseconds(30);
  const int silent = connect();
  const int head = connect();
  const int body = connect();
  write(head, "GET / HT");
  write(body, post(5) + "abcd");
  EXPECT_EQ(read(head) + read(body) + read(silent), "");
  for (int i = 0; i < 6; ++i) run();
  EXPECT_EQ(read(head).substr(0, 12), "HTTP/1.1 408");
  EXPECT_EQ(read(body).substr(0, 12), "HTTP/1.1 408");
  EXPECT_EQ(hits(Limit::kHeadTime), 1U);
  EXPECT_EQ(hits(Limit::kBodyTime), 1U);
  EXPECT_EQ(hits(Limit::kIdleTime), 1U);
  char byte = 0;
  EXPECT_EQ(::recv(silent, &byte, 1, MSG_DONTWAIT), 0);  // closed without a word
}

}  // namespace
}  // namespace serval
