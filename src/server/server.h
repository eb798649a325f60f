// Server: an Engine behind HTTP. Checks every request's Host, Origin, key, route and content type
// on its parsed head, runs routes on the I/O thread or on workers, and ends gracefully.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "serval/engine.h"
#include "server/http/limits.h"
#include "server/keys.h"
#include "server/service.h"

namespace serval {

struct ServerConfig {
  std::string host = "127.0.0.1";  // empty: no TCP
  int port = 8080;                 // 0: any free one
  std::string unix_path;           // empty: no Unix socket
  std::string certificate_file;    // PEM; with key_file: TLS on the TCP port
  std::string key_file;
  int io_threads = 1;
  KeyRing keys;                      // empty: no key is needed, but for routes of admins
  KeyRing admin_keys;                // for these; both empty: callers of this machine may
  bool allow_no_keys = false;        // on an address others can reach
  std::vector<std::string> hosts;    // further names the Host field may give
  std::vector<std::string> origins;  // browser origins that may call (CORS)
  HttpLimits limits;
  std::chrono::milliseconds drain_time{30'000};
  ServiceConfig service;
  std::function<void(std::string_view line)> access_log;  // empty: none; any thread
};

// Throws Error(kInvalidArgument) when others could use the server without a key and `allow_no_keys`
// is not set.
void check_exposure(const ServerConfig& config);

class Server {
 public:
  // Listens; nothing is answered before run(). Throws Error.
  Server(ServerConfig config, std::unique_ptr<Engine> engine);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  int port() const;
  // Serves until SIGTERM or SIGINT and everything in flight has ended.
  void run();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace serval
