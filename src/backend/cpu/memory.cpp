#include "backend/cpu/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "serval/error.h"

namespace serval::cpu {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kArenaBytes = size_t{64} << 20;

class HostBuffer final : public Buffer {
 public:
  explicit HostBuffer(size_t bytes) : mapping_(std::max<size_t>(bytes, 1)), bytes_(bytes) {}
  void* data() override { return mapping_.data(); }
  size_t size() const override { return bytes_; }

 private:
  Mapping mapping_;
  size_t bytes_;
};

// Small buffers (norm weights) would waste a page each.
class SmallBuffer final : public Buffer {
 public:
  explicit SmallBuffer(size_t bytes)
      : floats_(std::make_unique<Line[]>(bytes / sizeof(Line) + 1)), bytes_(bytes) {}
  void* data() override { return floats_.get(); }
  size_t size() const override { return bytes_; }

 private:
  struct alignas(64) Line {
    uint8_t bytes[64] = {};
  };
  std::unique_ptr<Line[]> floats_;
  size_t bytes_;
};

}  // namespace

Mapping::Mapping(size_t bytes) : size_(bytes) {
  const size_t slack = bytes >= kHugePage ? kHugePage : 0;
  if (bytes > SIZE_MAX - 2 * kHugePage) {
    throw Error(ErrorCode::kOutOfMemory, "cannot allocate " + std::to_string(bytes) + " bytes");
  }
  mapped_ = std::max<size_t>(bytes, 1) + slack;
  base_ = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base_ == MAP_FAILED) {
    throw Error(ErrorCode::kOutOfMemory, "cannot allocate " + std::to_string(bytes >> 20) +
                                             " MiB: " + std::strerror(errno) +
                                             "; use a smaller model, context or batch");
  }
  const auto address = reinterpret_cast<uintptr_t>(base_);
  const uintptr_t aligned = slack > 0 ? (address + kHugePage - 1) / kHugePage * kHugePage : address;
  data_ = reinterpret_cast<uint8_t*>(aligned);
  if (slack > 0) madvise(data_, size_, MADV_HUGEPAGE);  // a hint: failure is harmless
}

Mapping::~Mapping() { munmap(base_, mapped_); }

WeightArena::Piece WeightArena::take(size_t bytes) {
  const size_t rounded = (bytes + 127) / 128 * 128;
  if (current_ == nullptr || current_->size() - used_ < rounded) {
    current_ = std::make_shared<Mapping>(std::max(rounded, kArenaBytes));
    used_ = 0;
  }
  Piece piece{current_, current_->data() + used_};
  used_ += rounded;
  return piece;
}

BufferPtr make_buffer(size_t bytes) {
  if (bytes < kHugePage / 16) return std::make_unique<SmallBuffer>(bytes);
  return std::make_unique<HostBuffer>(bytes);
}

}  // namespace serval::cpu
