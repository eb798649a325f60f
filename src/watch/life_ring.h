// LifeRing: what happened to the last requests. Filled by the engine thread, read by any, without a
// lock.
#pragma once

#include <cstdint>
#include <vector>

#include "serval/watch.h"
#include "watch/word_ring.h"

namespace serval {

class LifeRing {
 public:
  static constexpr size_t kEvents = 8192;

  LifeRing() : events_(kEvents) {}

  // Engine thread. The event's number is set here.
  void push(const LifeEvent& event);
  // Any thread: the events after that number, oldest first; overwritten ones are left out.
  std::vector<LifeEvent> after(uint64_t number, size_t most) const;

 private:
  WordRing<9> events_;
};

}  // namespace serval
