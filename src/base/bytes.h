// ByteReader: the one sequential reader for binary input from outside. Every length is compared
// with the bytes left before anything is read or allocated, so a hostile count can only produce an
// Error.
//
// Integers and floats are little-endian. Not thread-safe; make one per parse.
// After an Error the position is unspecified: drop the reader.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "serval/error.h"

namespace serval {

static_assert(std::endian::native == std::endian::little, "file formats here are little-endian");

// Bytes that can be read at any offset: a file or a buffer. Implementations are thread-safe.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  virtual uint64_t size() const = 0;
  // Fills `out` from `offset`. REQUIRES: offset + out.size() <= size().
  // Throws Error(kIo) when the system fails or the file shrank meanwhile.
  virtual void read_at(uint64_t offset, std::span<std::byte> out) const = 0;
};

// Owns a copy of bytes in memory.
class MemorySource final : public ByteSource {
 public:
  explicit MemorySource(std::span<const std::byte> bytes) : bytes_(bytes.begin(), bytes.end()) {}
  uint64_t size() const override { return bytes_.size(); }
  void read_at(uint64_t offset, std::span<std::byte> out) const override {
    if (!out.empty()) std::memcpy(out.data(), bytes_.data() + offset, out.size());
  }

 private:
  std::vector<std::byte> bytes_;
};

// Takes bytes in order. write() throws Error(kIo) when they cannot be stored.
class ByteSink {
 public:
  virtual ~ByteSink() = default;
  virtual void write(std::span<const std::byte> bytes) = 0;
};

class MemorySink final : public ByteSink {
 public:
  void write(std::span<const std::byte> bytes) override {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

class ByteReader {
 public:
  // The most that take() can hand out at once.
  static constexpr size_t kMaxTake = 64 * 1024;

  // `label` (a path) begins every error message. The source must outlive the reader.
  ByteReader(const ByteSource& source, std::string label)
      : source_(source),
        label_(std::move(label)),
        size_(source.size()),
        window_(static_cast<size_t>(std::min<uint64_t>(size_, 4 * kMaxTake))) {}

  uint64_t size() const { return size_; }
  uint64_t offset() const { return window_offset_ + at_; }
  uint64_t left() const { return size_ - offset(); }

  // Throws Error(kCorrupt) "label: offset N: message".
  [[noreturn]] void fail_at(uint64_t offset, const std::string& message) const {
    throw Error(ErrorCode::kCorrupt,
                label_ + ": offset " + std::to_string(offset) + ": " + message);
  }
  [[noreturn]] void fail(const std::string& message) const { fail_at(offset(), message); }

  // Proves that `count` items of at least `item_bytes` each can still follow.
  void require(uint64_t count, uint64_t item_bytes, const char* what) const {
    if (count > left() / item_bytes) {
      const std::string each = item_bytes == 1 ? "" : " x " + std::to_string(item_bytes);
      fail(std::string(what) + " needs " + std::to_string(count) + each +
           " bytes, but the file has " + std::to_string(left()) + " left");
    }
  }

  template <typename T>
  T read(const char* what) {
    static_assert(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>);
    T value;
    std::memcpy(&value, take(sizeof(T), what).data(), sizeof(T));
    return value;
  }

  // The next `count` bytes, valid until the next call. REQUIRES: count <= kMaxTake.
  std::span<const std::byte> take(size_t count, const char* what) {
    if (count > filled_ - at_) {
      require(count, 1, what);
      refill();
    }
    const std::span<const std::byte> bytes(window_.data() + at_, count);
    at_ += count;
    return bytes;
  }

  // Appends the next `count` bytes to `out`, which grows only as bytes prove to be present.
  void append_to(std::string& out, uint64_t count, const char* what) {
    require(count, 1, what);
    while (count > 0) {
      const size_t piece = static_cast<size_t>(std::min<uint64_t>(count, kMaxTake));
      const auto bytes = take(piece, what);
      out.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      count -= piece;
    }
  }

 private:
  void refill() {
    window_offset_ += at_;
    at_ = 0;
    filled_ = static_cast<size_t>(std::min<uint64_t>(size_ - window_offset_, window_.size()));
    source_.read_at(window_offset_, std::span(window_).first(filled_));
  }

  const ByteSource& source_;
  std::string label_;
  uint64_t size_;
  std::vector<std::byte> window_;  // bytes [window_offset_, window_offset_ + filled_) of the source
  uint64_t window_offset_ = 0;
  size_t filled_ = 0;
  size_t at_ = 0;
};

}  // namespace serval
