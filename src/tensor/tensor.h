// Tensor: a non-owning 2-D view of float32 activations. Owned by a Workspace or a caller's buffer;
// `data` may be device memory: only the backend that made it reads it.
#pragma once

#include <cstdint>

namespace serval {

struct Tensor {
  float* data = nullptr;
  int rows = 0;
  int cols = 0;
  int64_t stride = 0;  // elements from one row to the next, >= cols

  float* row(int r) const { return data + static_cast<int64_t>(r) * stride; }
  Tensor slice(int first, int count) const { return {row(first), count, cols, stride}; }
};

}  // namespace serval
