// WordRing: the latest records of one writer, for any number of readers. A record is a fixed number
// of 64-bit words. Neither side ever waits, and push() allocates nothing.
//
// How a reader knows that a record was not overwritten while it copied: the writer says in `begun_`
// which record it is about to write before it touches the first word, and releases each word; a
// reader that acquired a word of a newer record therefore finds that record's number in `begun_`
// afterwards, and gives up. On x86 all of this is plain loads and stores.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace serval {

template <size_t kWords>
class WordRing {
 public:
  using Words = std::array<uint64_t, kWords>;

  // Keeps the last `capacity` records; rounded up to a power of two.
  explicit WordRing(size_t capacity) : cells_(std::bit_ceil(capacity)) {}

  size_t capacity() const { return cells_.size(); }

  // The writer's thread. Returns the record's number; they count up from 1.
  uint64_t push(const Words& words) {
    const uint64_t number = written_.load(std::memory_order_relaxed) + 1;
    begun_.store(number, std::memory_order_relaxed);
    Cell& cell = cells_[number & (cells_.size() - 1)];
    for (size_t i = 0; i < kWords; ++i) cell[i].store(words[i], std::memory_order_release);
    written_.store(number, std::memory_order_release);
    return number;
  }

  // Any thread: the number of the newest record; 0: there is none.
  uint64_t newest() const { return written_.load(std::memory_order_acquire); }

  // Any thread. False when the record is not written yet, or was overwritten.
  bool read(uint64_t number, Words& out) const {
    if (number == 0 || number > newest()) return false;
    const Cell& cell = cells_[number & (cells_.size() - 1)];
    for (size_t i = 0; i < kWords; ++i) out[i] = cell[i].load(std::memory_order_acquire);
    return begun_.load(std::memory_order_relaxed) - number < cells_.size();
  }

 private:
  using Cell = std::array<std::atomic<uint64_t>, kWords>;
  std::vector<Cell> cells_;
  std::atomic<uint64_t> begun_{0}, written_{0};
};

}  // namespace serval
