// What one client may cost before its request is understood, and all of them together. Every limit
// is enforced while reading, never after buffering; every one is an option of `serval serve` and a
// row of the metric serval:http_limit_hits_total.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace serval {

struct HttpLimits {
  size_t head_bytes = 32 * 1024;            // request line and fields together: 431
  size_t fields = 100;                      // 431
  size_t target_bytes = 8 * 1024;           // 414
  size_t body_bytes = 8 * 1024 * 1024;      // 413
  size_t body_memory = 256 * 1024 * 1024;   // bodies of all requests together: 503
  size_t upload_bytes = 256 * 1024 * 1024;  // of a PUT: 413
  int connections = 2048;                   // more are answered 503 and closed
  std::optional<int> address_connections;   // of one address; unset: 64, and any number of our own
  int requests_per_connection = 1000;       // then `Connection: close`
  size_t pause_bytes = 64 * 1024;           // unsent bytes of one stream: its request is paused
  size_t output_bytes = 1024 * 1024;        // unsent although paused: the client is dropped

  std::chrono::milliseconds handshake_time{10'000};  // of TLS
  std::chrono::milliseconds head_time{10'000};       // first byte to end of head: 408
  std::chrono::milliseconds body_time{30'000};       // end of head to end of body: 408
  std::chrono::milliseconds idle_time{60'000};       // between requests
  std::chrono::milliseconds stall_time{30'000};      // a write without progress: dropped
  std::chrono::milliseconds ping_time{15'000};       // silence before a comment is sent on a stream
  std::chrono::milliseconds linger_time{2'000};  // for a client still sending after our last reply
};

// Limits as they are counted when a client meets them.
enum class Limit : uint8_t {
  kHeadBytes,
  kFields,
  kTargetBytes,
  kBodyBytes,
  kBodyMemory,
  kConnections,
  kAddressConnections,
  kConnectionRequests,
  kPauseBytes,
  kOutputBytes,
  kHandshakeTime,
  kHeadTime,
  kBodyTime,
  kIdleTime,
  kStallTime,
};
inline constexpr std::array<std::string_view, 15> kLimitNames = {
    "head_bytes",  "fields",       "target_bytes",        "body_bytes",
    "body_memory", "connections",  "address_connections", "connection_requests",
    "pause_bytes", "output_bytes", "handshake_time",      "head_time",
    "body_time",   "idle_time",    "stall_time"};
static_assert(kLimitNames.size() == static_cast<size_t>(Limit::kStallTime) + 1);

}  // namespace serval
