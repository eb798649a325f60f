// Four lanes eat stripes of 32 bytes; the rest is mixed in by 8, 4 and 1 bytes. Little-endian.
#include "base/xxh64.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace serval {
namespace {

constexpr uint64_t kPrime1 = 0x9E3779B185EBCA87ULL;
constexpr uint64_t kPrime2 = 0xC2B2AE3D27D4EB4FULL;
constexpr uint64_t kPrime3 = 0x165667B19E3779F9ULL;
constexpr uint64_t kPrime4 = 0x85EBCA77C2B2AE63ULL;
constexpr uint64_t kPrime5 = 0x27D4EB2F165667C5ULL;

template <typename T>
T load(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}

uint64_t round(uint64_t lane, uint64_t input) {
  return std::rotl(lane + input * kPrime2, 31) * kPrime1;
}

}  // namespace

Xxh64::Xxh64(uint64_t seed)
    : seed_(seed), lanes_{seed + kPrime1 + kPrime2, seed + kPrime2, seed, seed - kPrime1} {}

void Xxh64::stripe(const std::byte* p) {
  for (size_t i = 0; i < 4; ++i) lanes_[i] = round(lanes_[i], load<uint64_t>(p + 8 * i));
}

void Xxh64::update(std::span<const std::byte> bytes) {
  if (bytes.empty()) return;  // memcpy takes no null pointer, even for nothing
  total_ += bytes.size();
  if (held_count_ > 0) {
    const size_t take = std::min(bytes.size(), sizeof(held_) - held_count_);
    std::memcpy(held_ + held_count_, bytes.data(), take);
    held_count_ += take;
    bytes = bytes.subspan(take);
    if (held_count_ < sizeof(held_)) return;
    stripe(held_);
    held_count_ = 0;
  }
  for (; bytes.size() >= sizeof(held_); bytes = bytes.subspan(sizeof(held_))) stripe(bytes.data());
  if (!bytes.empty()) std::memcpy(held_, bytes.data(), bytes.size());
  held_count_ = bytes.size();
}

uint64_t Xxh64::digest() const {
  uint64_t h = seed_ + kPrime5;
  if (total_ >= sizeof(held_)) {
    h = std::rotl(lanes_[0], 1) + std::rotl(lanes_[1], 7) + std::rotl(lanes_[2], 12) +
        std::rotl(lanes_[3], 18);
    for (const uint64_t lane : lanes_) h = (h ^ round(0, lane)) * kPrime1 + kPrime4;
  }
  h += total_;
  size_t i = 0;
  for (; i + 8 <= held_count_; i += 8) {
    h = std::rotl(h ^ round(0, load<uint64_t>(held_ + i)), 27) * kPrime1 + kPrime4;
  }
  if (i + 4 <= held_count_) {
    h = std::rotl(h ^ (load<uint32_t>(held_ + i) * kPrime1), 23) * kPrime2 + kPrime3;
    i += 4;
  }
  for (; i < held_count_; ++i) {
    h = std::rotl(h ^ (static_cast<uint64_t>(held_[i]) * kPrime5), 11) * kPrime1;
  }
  h = (h ^ (h >> 33)) * kPrime2;
  h = (h ^ (h >> 29)) * kPrime3;
  return h ^ (h >> 32);
}

}  // namespace serval
