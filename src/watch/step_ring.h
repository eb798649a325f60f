// StepRing: what the last steps did. Filled by the engine thread, read by any, without a lock: a
// record of fixed size for each step, and 16 bytes for each of its spans in a ring of their own, so
// that a step with many sequences is as whole as one with a single one.
#pragma once

#include <cstdint>
#include <vector>

#include "serval/engine.h"
#include "watch/word_ring.h"

namespace serval {

class StepRing {
 public:
  static constexpr size_t kSteps = 4096;
  static constexpr size_t kSpans = 16 * kSteps;

  // `most_spans`: per step.
  explicit StepRing(int most_spans);

  // Engine thread: the record of the step being made, then its place among the others.
  StepRecord& current() { return current_; }
  void commit();

  // Any thread. The latest `most` steps, or those after the given one, oldest first; steps that
  // were overwritten are left out.
  std::vector<StepRecord> last(size_t most) const;
  std::vector<StepRecord> after(uint64_t number, size_t most) const;

 private:
  bool read(uint64_t number, StepRecord& out) const;

  StepRecord current_;
  WordRing<11> steps_;
  WordRing<2> spans_;
};

}  // namespace serval
