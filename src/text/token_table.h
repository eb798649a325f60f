// TokenTable: bytes -> token id. MergeTable: (left id, right id) -> rank and merged id. Both are
// open addressing with linear probing, at most half full, seeded so that a crafted vocabulary
// cannot make every key collide. Built once, then const and thread-safe.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "text/vocab.h"

namespace serval {

uint64_t random_seed();

inline uint64_t mix(uint64_t a, uint64_t b) {
  __extension__ using uint128 = unsigned __int128;
  const uint128 product = static_cast<uint128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

// Multiply-and-fold over 16 bytes a step, after Wang Yi's wyhash.
inline uint64_t hash_bytes(const char* p, size_t n, uint64_t seed) {
  constexpr uint64_t kA = 0xA0761D6478BD642F, kB = 0xE7037ED1A0B428DB;
  const auto load8 = [](const char* q) {
    uint64_t v;
    std::memcpy(&v, q, 8);
    return v;
  };
  const auto load4 = [](const char* q) {
    uint32_t v;
    std::memcpy(&v, q, 4);
    return static_cast<uint64_t>(v);
  };
  const uint64_t length = n;
  while (n > 16) {
    seed = mix(load8(p) ^ kA, load8(p + 8) ^ seed);
    p += 16;
    n -= 16;
  }
  uint64_t a = 0, b = 0;
  if (n >= 8) {
    a = load8(p);
    b = load8(p + n - 8);
  } else if (n >= 4) {
    a = load4(p);
    b = load4(p + n - 4);
  } else if (n > 0) {
    const auto at = [&](size_t i) {
      return static_cast<uint64_t>(static_cast<unsigned char>(p[i]));
    };
    a = at(0) << 16 | at(n / 2) << 8 | at(n - 1);
  }
  return mix(kB ^ length, mix(a ^ kA, b ^ seed));
}

class TokenTable {
 public:
  // Slots for `capacity` keys; ids are below `ids`.
  TokenTable(size_t capacity, size_t ids);

  // The first of equal keys stays. The bytes must outlive the table.
  void insert(std::string_view key, TokenId id);

  // -1 when absent.
  TokenId find(std::string_view key) const {
    const uint64_t hash = hash_bytes(key.data(), key.size(), seed_);
    const auto tag = static_cast<uint32_t>(hash >> 32);
    for (size_t i = hash & mask_;; i = (i + 1) & mask_) {
      const Slot& slot = slots_[i];
      if (slot.id_plus_one == 0) return -1;
      if (slot.tag == tag) {
        const TokenId id = static_cast<TokenId>(slot.id_plus_one - 1);
        if (keys_[static_cast<size_t>(id)] == key) return id;
      }
    }
  }

  std::string_view key(TokenId id) const { return keys_[static_cast<size_t>(id)]; }

 private:
  struct Slot {
    uint32_t tag = 0;
    uint32_t id_plus_one = 0;
  };
  uint64_t seed_;
  size_t mask_;
  std::vector<Slot> slots_;
  std::vector<std::string_view> keys_;  // [id]; empty for ids that were never inserted
};

struct Merge {
  uint32_t rank = UINT32_MAX;  // lower merges first; UINT32_MAX: no merge
  TokenId id = -1;
};

class MergeTable {
 public:
  explicit MergeTable(size_t capacity);

  // The first of equal pairs stays.
  void insert(TokenId left, TokenId right, Merge merge);

  Merge find(TokenId left, TokenId right) const {
    const uint64_t key = pack(left, right);
    for (size_t i = mix(key, seed_) & mask_;; i = (i + 1) & mask_) {
      const Slot& slot = slots_[i];
      if (slot.key == key) return slot.merge;
      if (slot.key == kEmpty) return {};
    }
  }

 private:
  static constexpr uint64_t kEmpty = UINT64_MAX;  // (-1, -1) is never inserted
  static uint64_t pack(TokenId left, TokenId right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  struct Slot {
    uint64_t key = kEmpty;
    Merge merge;
  };
  uint64_t seed_;
  size_t mask_;
  std::vector<Slot> slots_;
};

}  // namespace serval
