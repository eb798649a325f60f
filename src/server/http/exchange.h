// Exchange: one request and the ways to answer it. What a route holds; the socket stays behind it.
//
// Threads: an exchange lives on its connection's strand. Only post(), id() and request() may be
// used from elsewhere; everything else is called by work handed to post(). After the reply ended or
// the client left, all calls are harmless.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "server/http/message.h"

namespace serval {

class Exchange {
 public:
  virtual ~Exchange() = default;

  // Its body is there until the route's function has returned.
  virtual const HttpRequest& request() const = 0;
  virtual const std::string& id() const = 0;  // sent to the client as x-request-id
  // The name of the key that was used; empty when none is needed.
  virtual const std::string& key_name() const = 0;

  // Runs `work` on the strand, after everything posted earlier by the same thread.
  virtual void post(std::function<void()> work) = 0;

  // The whole answer at once.
  virtual void reply(HttpResponse response) = 0;

  // Announces that a stream of server-sent events will follow. The head is sent with the first
  // event, or with the first comment ping when the first event takes long; until then reply() can
  // still answer with an error.
  virtual void expect_stream() = 0;
  virtual bool stream_begun() const = 0;
  virtual void send(std::string events) = 0;  // events already framed (sse.h)
  virtual void end_stream() = 0;

  // Called with true when the client is behind by more than the pause limit, and with false when it
  // caught up: in between the request should not compute. Called at once when it is behind already.
  virtual void on_backlog(std::function<void(bool behind)> action) = 0;
  // The body is not needed any more: its memory goes back. By whoever ran the route.
  virtual void forget_body() = 0;

  // Called once, when the client is gone before the answer was complete; at once if it is already.
  virtual void on_disconnect(std::function<void()> action) = 0;
};
using ExchangePtr = std::shared_ptr<Exchange>;

}  // namespace serval
