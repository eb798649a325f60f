// The loop: take all messages, handle them, compute one step. It sleeps only when nothing runs.
#include "engine/engine_thread.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <future>
#include <utility>

#include "base/monotonic.h"

namespace serval {
namespace {

using SteadyClock = std::chrono::steady_clock;

}  // namespace

EngineThread::EngineThread(const CoreParts& parts, int max_queue)
    : max_queue_(max_queue),
      max_sequences_(parts.limits.spans),
      delivery_([this](RequestId id) { cancel(id); }),
      core_(
          parts, monotonic_us,
          [this](const OutletPtr& outlet, Event event) {
            delivery_.post(outlet, std::move(event));
          },
          counters_),
      thread_([this] { loop(); }) {}

EngineThread::~EngineThread() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

Result<void> EngineThread::submit(SequencePtr sequence) {
  {
    const std::lock_guard lock(mutex_);
    const int waiting = inbox_sequences_ + counters_.waiting.load(std::memory_order_relaxed);
    const int places =
        std::max(0, max_sequences_ - counters_.running.load(std::memory_order_relaxed));
    if (waiting >= max_queue_ + places) {
      return Error(ErrorCode::kResourceExhausted,
                   fmt::format("{} requests are waiting already; try again later", waiting));
    }
    inbox_.emplace_back(std::move(sequence));
    ++inbox_sequences_;
  }
  wake_.notify_one();
  return {};
}

void EngineThread::post(Message message) {
  {
    const std::lock_guard lock(mutex_);
    inbox_.push_back(std::move(message));
  }
  wake_.notify_one();
}

void EngineThread::cancel(RequestId id) { post(Cancel{id, monotonic_us()}); }

void EngineThread::pause(RequestId id, bool paused) { post(Pause{id, paused}); }

void EngineThread::run(const std::function<void(Core&)>& job) {
  std::promise<void> done;
  std::future<void> result = done.get_future();
  post(Job([&](Core& core) {
    std::exception_ptr failed;
    try {
      job(core);
    } catch (...) {
      failed = std::current_exception();
    }
    core.publish_counters();  // before the caller goes on: it may look at once
    if (failed) {
      done.set_exception(failed);
    } else {
      done.set_value();
    }
  }));
  result.get();
}

void EngineThread::loop() {
  std::vector<Message> messages;
  for (;;) {
    bool stopping = false;
    {
      std::unique_lock lock(mutex_);
      sleep(lock);
      messages.swap(inbox_);
      // Before the lock opens, so that submit() never counts a request twice or not at all.
      counters_.waiting.fetch_add(std::exchange(inbox_sequences_, 0), std::memory_order_relaxed);
      stopping = stopping_;
    }
    for (Message& message : messages) handle(message);
    messages.clear();
    if (stopping) {
      core_.cancel_all();
      return;
    }
    if (!core_.idle()) step();  // a job may have changed what a stalled core waits for
  }
}

void EngineThread::sleep(std::unique_lock<std::mutex>& lock) {
  const auto called = [&] { return stopping_ || !inbox_.empty(); };
  if (core_.idle()) {
    wake_.wait(lock, called);
  } else if (core_.stalled()) {
    const int64_t until = core_.wake_us();
    if (until == INT64_MAX) {
      wake_.wait(lock, called);
    } else {
      wake_.wait_until(lock, SteadyClock::time_point(std::chrono::microseconds(until)), called);
    }
  }
}

void EngineThread::handle(Message& message) {
  if (auto* sequence = std::get_if<SequencePtr>(&message)) {
    core_.add(std::move(*sequence));
  } else if (const auto* cancel = std::get_if<Cancel>(&message)) {
    core_.cancel(cancel->id, cancel->arrived_us);
  } else if (const auto* pause = std::get_if<Pause>(&message)) {
    core_.pause(pause->id, pause->paused);
  } else {
    std::get<Job>(message)(core_);
    core_.publish_counters();
  }
}

void EngineThread::step() {
  try {
    core_.step();
  } catch (const std::exception& e) {  // e.g. no memory for an event
    core_.fail_all(Error(ErrorCode::kInternal, std::string("the step failed: ") + e.what()));
  }
}

}  // namespace serval
