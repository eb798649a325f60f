// What one client may cost before its request is understood. Every limit is enforced while reading,
// never after buffering, and every one is an option of `serval serve`.
#pragma once

#include <chrono>
#include <cstddef>

namespace serval {

struct HttpLimits {
  size_t head_bytes = 32 * 1024;        // request line and fields together: 431
  size_t fields = 100;                  // 431
  size_t target_bytes = 8 * 1024;       // 414
  size_t body_bytes = 8 * 1024 * 1024;  // 413
  int connections = 2048;               // more are answered 503 and closed
  int requests_per_connection = 1000;   // then `Connection: close`
  size_t output_bytes = 1024 * 1024;    // unsent bytes of one stream; a reader this slow is dropped

  std::chrono::milliseconds head_time{10'000};   // first byte to end of head: 408
  std::chrono::milliseconds body_time{30'000};   // end of head to end of body: 408
  std::chrono::milliseconds idle_time{60'000};   // between requests
  std::chrono::milliseconds stall_time{30'000};  // a write without progress
  std::chrono::milliseconds ping_time{15'000};   // silence before a comment is sent on a stream
  std::chrono::milliseconds linger_time{2'000};  // for a client still sending after our last reply
};

}  // namespace serval
