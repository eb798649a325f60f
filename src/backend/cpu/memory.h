// Memory of the CPU backend: zeroed, page-backed on demand, in 2 MiB pages where the kernel grants
// them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "backend/backend.h"

namespace serval::cpu {

// One anonymous mapping. Pages appear when first written, so an unused tail costs nothing.
class Mapping {
 public:
  explicit Mapping(size_t bytes);  // throws Error(kOutOfMemory)
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  uint8_t* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  void* base_ = nullptr;
  size_t mapped_ = 0;
  uint8_t* data_ = nullptr;  // 2 MiB aligned
  size_t size_ = 0;
};

// Grows to the largest size asked for and never shrinks; contents are lost when it grows.
class Scratch {
 public:
  void reserve(size_t bytes) {
    if (mapping_ == nullptr || mapping_->size() < bytes)
      mapping_ = std::make_unique<Mapping>(bytes);
  }
  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(mapping_->data());
  }
  size_t size() const { return mapping_ == nullptr ? 0 : mapping_->size(); }

 private:
  std::unique_ptr<Mapping> mapping_;
};

// Places weights one after the other in large mappings, so that small matrices share huge pages.
class WeightArena {
 public:
  struct Piece {
    std::shared_ptr<Mapping> mapping;  // keeps the memory alive
    uint8_t* data = nullptr;           // 128-byte aligned, zeroed
  };
  Piece take(size_t bytes);

 private:
  std::shared_ptr<Mapping> current_;
  size_t used_ = 0;
};

BufferPtr make_buffer(size_t bytes);

}  // namespace serval::cpu
