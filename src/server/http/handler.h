// What a connection asks of the layer above it.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string>

#include "server/http/exchange.h"
#include "server/http/limits.h"
#include "server/http/message.h"

namespace serval {

// The verdict on a parsed head, before any byte of the body is read.
struct Admission {
  std::optional<HttpResponse> refusal;  // sent, and the connection closed
  std::string key_name;
  HeaderList headers;  // to add to whatever is answered
};

class HttpHandler {
 public:
  virtual ~HttpHandler() = default;
  // Host, Origin, key, route, method, content type. Called on an I/O thread: must not block.
  virtual Admission admit(const HttpRequest& head) = 0;
  // Answers, now or later. Called on the exchange's strand: must not block.
  virtual void handle(const ExchangePtr& exchange) = 0;
  // The reply to a request that broke the rules of HTTP.
  virtual HttpResponse refuse(int status, std::string_view reason) = 0;
  // For counting and logging: `status` 0 means the client left before an answer.
  virtual void finished(const HttpRequest& request, const std::string& id,
                        const std::string& key_name, int status, double seconds) = 0;
  virtual bool draining() const = 0;
};

// Written by the connections, read by anyone.
struct ConnectionCounts {
  std::atomic<int> open{0}, streams{0}, paused{0};  // paused: streams whose reader is behind
  std::atomic<size_t> body_bytes{0};                // of all requests, in memory
  std::atomic<uint64_t> accepted{0};
  std::atomic<uint64_t> handshakes_failed{0};
  std::atomic<uint64_t> faults{0};  // connections that ended by a fault of ours
  std::array<std::atomic<uint64_t>, kLimitNames.size()> limit_hits{};

  void hit(Limit limit) { ++limit_hits[static_cast<size_t>(limit)]; }
};

}  // namespace serval
