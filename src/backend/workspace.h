// Workspace: the arena of one step's activations, reset each step. Owned by the runner; views die
// with it.
#pragma once

#include "backend/backend.h"
#include "base/check.h"

namespace serval {

class Workspace {
 public:
  // Room for `floats` values, taken in at most a few dozen tensors (each padded to 64 bytes).
  Workspace(Backend& backend, size_t floats)
      : buffer_(backend.allocate((floats + 1024) * sizeof(float))) {}

  void reset() { used_ = 0; }
  size_t bytes() const { return buffer_->size(); }
  size_t floats_used() const { return used_; }  // since reset()

  // REQUIRES: the sum since reset() fits; the model's recorded pass sized it.
  Tensor take(int rows, int cols) {
    const size_t count = (static_cast<size_t>(rows) * static_cast<size_t>(cols) + 15) / 16 * 16;
    SERVAL_CHECK((used_ + count) * sizeof(float) <= buffer_->size());
    Tensor out{static_cast<float*>(buffer_->data()) + used_, rows, cols, cols};
    used_ += count;
    return out;
  }

 private:
  BufferPtr buffer_;
  size_t used_ = 0;  // floats
};

}  // namespace serval
