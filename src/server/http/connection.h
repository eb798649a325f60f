// Connection: one client's socket, TCP or Unix. Reads one request at a time, hands it over as an
// Exchange, writes the answer, stays for the next one.
//
// Owned by itself: pending operations hold it. Everything runs on the socket's strand.
#pragma once

#include <boost/asio/generic/stream_protocol.hpp>
#include <memory>

#include "server/http/handler.h"
#include "server/http/limits.h"

namespace serval {

using Socket = boost::asio::generic::stream_protocol::socket;

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

// `over_limit`: answer 503 to whatever comes, and close.
std::shared_ptr<Connection> start_connection(Socket socket, const ConnectionEnv& env,
                                             bool over_limit);

}  // namespace serval
