// XXH64, the 64-bit checksum of https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md:
// one pass, several GB/s. Detects damage; it is no protection against forgery.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace serval {

class Xxh64 {
 public:
  explicit Xxh64(uint64_t seed = 0);
  void update(std::span<const std::byte> bytes);
  void update(std::string_view text) { update(std::as_bytes(std::span(text))); }
  template <typename T>
  void update_value(const T& value) {
    update(std::as_bytes(std::span(&value, 1)));
  }
  uint64_t digest() const;

 private:
  void stripe(const std::byte* p);

  uint64_t seed_;
  uint64_t lanes_[4];
  std::byte held_[32];
  size_t held_count_ = 0;
  uint64_t total_ = 0;
};

inline uint64_t xxh64(std::span<const std::byte> bytes, uint64_t seed = 0) {
  Xxh64 hash(seed);
  hash.update(bytes);
  return hash.digest();
}

}  // namespace serval
