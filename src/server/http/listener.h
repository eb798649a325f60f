// Listener: the sockets we accept on, the threads that serve them, and the end: signals and drain.
//
// Owned by the server; run() blocks the calling thread until everything is drained.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "server/http/connection.h"

namespace serval {

struct ListenAddress {
  std::string host = "127.0.0.1";  // an address or a name; empty: no TCP
  int port = 8080;                 // 0: any free one
  std::string unix_path;           // empty: no Unix socket; never under TLS
  TlsContext* tls = nullptr;       // of the TCP port; outlives the listener; null: plain
};

class Listener {
 public:
  // Binds and listens; nothing is accepted before run(). Throws Error(kIo) naming the address.
  Listener(const ListenAddress& address, const ConnectionEnv& env, int io_threads);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  int port() const;  // the one bound

  // Serves until SIGTERM or SIGINT (a second one ends the process at once). Then `on_drain` is
  // called, connections end as they become idle, and after `drain_time` `on_deadline` is called
  // and what is left gets a few seconds more.
  void run(std::chrono::milliseconds drain_time, const std::function<void()>& on_drain,
           const std::function<void()>& on_deadline);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace serval
