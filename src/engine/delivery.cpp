// A two-buffer queue: the thread swaps the posted items out and runs sinks without the lock.
#include "engine/delivery.h"

#include <exception>
#include <utility>

namespace serval {
namespace {

bool is_last(const Event& event) {
  return std::holds_alternative<Finished>(event) || std::holds_alternative<Failed>(event);
}

}  // namespace

Delivery::Delivery(std::function<void(RequestId)> stop_request)
    : stop_request_(std::move(stop_request)), thread_([this] { loop(); }) {}

Delivery::~Delivery() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void Delivery::post(const OutletPtr& outlet, Event event) {
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back({outlet, std::move(event)});
  }
  wake_.notify_one();
}

void Delivery::loop() {
  std::vector<Item> items;
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return closing_ || !queue_.empty(); });
      if (queue_.empty()) return;
      items.swap(queue_);
    }
    for (Item& item : items) deliver(item);
    items.clear();
  }
}

void Delivery::deliver(Item& item) {
  Outlet& outlet = *item.outlet;
  const bool last = is_last(item.event);
  if (outlet.stopped && !last) return;
  if (outlet.thrown) item.event = Failed{Error(ErrorCode::kInternal, *outlet.thrown)};
  bool go_on = true;
  try {
    go_on = outlet.sink == nullptr || outlet.sink(outlet.id, item.event);
  } catch (const std::exception& e) {
    outlet.thrown = std::string("the request's event sink threw: ") + e.what();
    go_on = false;
  } catch (...) {
    outlet.thrown = "the request's event sink threw something that is not a std::exception";
    go_on = false;
  }
  if (last) {
    outlet.sink = nullptr;  // what the sink captured goes with its last event
  } else if (!go_on) {
    outlet.stopped = true;
    stop_request_(outlet.id);
  }
}

}  // namespace serval
