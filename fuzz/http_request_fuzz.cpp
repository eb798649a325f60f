// Any bytes as what a client sends: the real connection reads them from a socket pair and answers.
// Whatever comes, it ends, and every answer it gives begins as an HTTP answer should.
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "server/http/connection.h"

namespace serval {
namespace {

// Accepts everything, answers at once; every second request as a stream.
class Echo final : public HttpHandler {
 public:
  Admission admit(const HttpRequest&) override { return {}; }
  void handle(const ExchangePtr& exchange) override {
    const HttpRequest& request = exchange->request();
    if (request.path.empty() && request.method != "OPTIONS") return;
    if (++requests_ % 2 == 0) {
      exchange->expect_stream();
      exchange->send("data: " + std::to_string(request.body.size()) + "\n\n");
      exchange->end_stream();
      return;
    }
    HttpResponse response;
    response.body = request.path;
    exchange->reply(response);
  }
  HttpResponse refuse(int status, std::string_view reason) override {
    SERVAL_CHECK(status >= 400 && !reason.empty());
    HttpResponse response;
    response.status = status;
    return response;
  }
  void finished(const HttpRequest&, const std::string&, const std::string&, int, double) override {}
  bool draining() const override { return false; }

 private:
  int requests_ = 0;
};

void check_answers(int descriptor) {
  char bytes[12];
  const ssize_t size = ::recv(descriptor, bytes, sizeof bytes, MSG_DONTWAIT);
  if (size <= 0) return;
  constexpr std::string_view kBegin = "HTTP/1.1 ";
  const std::string_view answer(bytes, static_cast<size_t>(size));
  SERVAL_CHECK(answer.substr(0, kBegin.size()) == kBegin.substr(0, answer.size()));
}

}  // namespace
}  // namespace serval

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace serval;
  if (size > 48 * 1024) return 0;  // fits into the socket's buffer
  int pair[2];
  SERVAL_CHECK(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
  HttpLimits limits;
  limits.head_bytes = 1024;
  limits.target_bytes = 256;
  limits.fields = 16;
  limits.body_bytes = 2048;
  limits.requests_per_connection = 8;
  limits.output_bytes = 1 << 20;
  ConnectionCounts counts;
  Echo handler;
  {
    boost::asio::io_context io;
    boost::asio::local::stream_protocol::socket socket(io, boost::asio::local::stream_protocol(),
                                                       pair[1]);
    start_connection(Socket(std::move(socket)), {handler, limits, counts});
    SERVAL_CHECK(::send(pair[0], data, size, MSG_NOSIGNAL) == static_cast<ssize_t>(size));
    ::shutdown(pair[0], SHUT_WR);
    io.run();
  }
  SERVAL_CHECK(counts.open == 0);
  check_answers(pair[0]);
  ::close(pair[0]);
  return 0;
}
