// Delivery: the one border out of the engine. Events are queued here by the engine thread and
// handed to the requests' sinks by one delivery thread, so a slow sink delays other sinks but never
// a step.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "serval/request.h"

namespace serval {

// Where one request's events go. Made by submit(), shared by its sequence and the queued events;
// after creation only the delivery thread touches it.
struct Outlet {
  Outlet(RequestId request, EventSink event_sink) : id(request), sink(std::move(event_sink)) {}
  const RequestId id;
  EventSink sink;
  bool stopped = false;  // the sink returned false or threw: only the last event follows
  std::optional<std::string> thrown;  // what it threw
};
using OutletPtr = std::shared_ptr<Outlet>;

class Delivery {
 public:
  // `stop_request` is called on the delivery thread when a sink asks to stop.
  explicit Delivery(std::function<void(RequestId)> stop_request);
  // Delivers everything posted, then ends the thread.
  ~Delivery();
  Delivery(const Delivery&) = delete;
  Delivery& operator=(const Delivery&) = delete;

  void post(const OutletPtr& outlet, Event event);

 private:
  struct Item {
    OutletPtr outlet;
    Event event;
  };
  void loop();
  void deliver(Item& item);

  std::function<void(RequestId)> stop_request_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Item> queue_;
  bool closing_ = false;
  std::thread thread_;
};

}  // namespace serval
