// A ring under a mutex that each side holds for one record: the writer to swap vectors, the reader
// to copy into memory that it reserved before.
#include "engine/step_log.h"

#include <algorithm>
#include <utility>

namespace serval {

StepLog::StepLog(int most_spans)
    : usual_spans_(std::min<size_t>(static_cast<size_t>(most_spans), 64)), ring_(kSteps) {
  current_.spans.reserve(usual_spans_);
  for (StepRecord& record : ring_) record.spans.reserve(usual_spans_);
}

void StepLog::commit() {
  const std::lock_guard lock(mutex_);
  current_.number = ++written_;
  std::swap(ring_[written_ % kSteps], current_);
}

std::vector<StepRecord> StepLog::last(size_t most) const {
  std::vector<StepRecord> out;
  uint64_t next = 0, end = 0;
  {
    const std::lock_guard lock(mutex_);
    end = written_ + 1;
    next = end - std::min<uint64_t>({most, kSteps, written_});
  }
  out.reserve(end - next);
  for (; next < end; ++next) {
    StepRecord record;
    record.spans.reserve(usual_spans_);
    const std::lock_guard lock(mutex_);
    const StepRecord& found = ring_[next % kSteps];
    if (found.number == next) {  // else overwritten meanwhile
      record = found;
      out.push_back(std::move(record));
    }
  }
  return out;
}

}  // namespace serval
