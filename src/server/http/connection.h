// Connection: one client's socket, TCP or Unix, with or without TLS. Reads one request at a time,
// hands it over as an Exchange, writes the answer, stays for the next one.
//
// Owned by itself: pending operations hold it. Everything runs on the socket's strand.
#pragma once

#include <memory>

#include "server/http/handler.h"
#include "server/http/limits.h"
#include "server/http/stream.h"

namespace serval {

struct ConnectionEnv {  // outlives every connection
  HttpHandler& handler;
  const HttpLimits& limits;
  ConnectionCounts& counts;
};

class Connection {
 public:
  virtual ~Connection() = default;
  // From any thread: closes the connection if it waits for a request, else after the answer.
  virtual void drain() = 0;
};

struct ConnectionStart {
  TlsContext* tls = nullptr;    // outlives the connection; null: plain
  bool over_limit = false;      // answer 503 to whatever comes, and close
  bool local = false;           // the peer is on this machine
  std::shared_ptr<void> place;  // let go of when the connection ends
};
std::shared_ptr<Connection> start_connection(Socket socket, const ConnectionEnv& env,
                                             ConnectionStart start = {});

}  // namespace serval
