// StepLog: what the last steps did. Filled by the engine thread, read by any. Records keep the
// memory of their spans when they are overwritten, so in the long run a step allocates nothing
// here.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "serval/engine.h"

namespace serval {

class StepLog {
 public:
  static constexpr size_t kSteps = 1024;

  // `most_spans`: per step.
  explicit StepLog(int most_spans);

  // Engine thread: the record of the step being made, then its place among the others.
  StepRecord& current() { return current_; }
  void commit();

  // The latest `most` steps, oldest first. Any thread; a step never waits for more than the copy
  // of one record.
  std::vector<StepRecord> last(size_t most) const;

 private:
  const size_t usual_spans_;  // what a record has room for from the start
  StepRecord current_;
  mutable std::mutex mutex_;  // what follows
  std::vector<StepRecord> ring_;
  uint64_t written_ = 0;
};

}  // namespace serval
