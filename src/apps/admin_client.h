// AdminClient: what `serval top` and `serval trace` ask of a server, over HTTP, HTTPS or a Unix
// socket. Redirects are not followed and answers are bounded. Not thread-safe. Throws Error(kIo)
// when the server cannot be reached or the connection breaks.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace serval {

struct AdminReply {
  int status = 0;
  std::string body;
};

class AdminClient {
 public:
  // `address`: http://host:port, https://…, or unix:/path/of/socket. `key` may be empty.
  AdminClient(std::string address, std::string key);
  ~AdminClient();
  AdminClient(const AdminClient&) = delete;
  AdminClient& operator=(const AdminClient&) = delete;

  const std::string& address() const { return address_; }
  const std::string& key() const { return key_; }

  AdminReply get(const std::string& path);
  AdminReply post(const std::string& path);

  // Server-sent events; replaces a stream that is open.
  void open_stream(const std::string& path);
  using OnEvent = std::function<void(std::string_view name, std::string_view data)>;
  // Waits for events or for one of `descriptors` to be readable, at most so long. Returns the
  // status when the stream ended with an answer that is none (403, 429, ...).
  std::optional<AdminReply> wait(int milliseconds, std::span<const int> descriptors,
                                 const OnEvent& on_event);

 private:
  struct Impl;
  const std::string address_, key_;
  std::unique_ptr<Impl> impl_;
};

// The message inside an error of the API; else the status.
std::string error_message(const AdminReply& reply);

}  // namespace serval
