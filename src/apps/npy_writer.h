// A NumPy .npy file of float32 in C order, written row by row and published complete or not at all.
// Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html (version 1.0)
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"

namespace serval {

class NpyWriter {
 public:
  NpyWriter(const std::string& path, const std::vector<size_t>& shape);
  void append(std::span<const float> values);
  // REQUIRES: exactly as many values as the shape says.
  void commit();

 private:
  AtomicFile file_;
  size_t left_ = 1;  // values
};

}  // namespace serval
