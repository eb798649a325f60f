// TokenTable: bytes -> token id. MergeTable: (left id, right id) -> rank and merged id. Both are
// open addressing with linear probing, at most half full, seeded so that a crafted vocabulary
// cannot make every key collide. Built once, then const and thread-safe.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
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

  struct Entry {
    std::string_view key;
    TokenId id;
  };
  // The first of equal keys stays. The bytes must outlive the table.
  void insert(std::span<const Entry> entries);

  uint64_t hash(std::string_view key) const { return hash_bytes(key.data(), key.size(), seed_); }
  // Hides the memory latency of a find(key, hash) to come.
  void prefetch(uint64_t hash) const { __builtin_prefetch(&slots_[hash & mask_]); }

  // -1 when absent.
  TokenId find(std::string_view key) const { return find(key, hash(key)); }
  TokenId find(std::string_view key, uint64_t hash) const {
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
  bool is(TokenId id, std::string_view key) const {
    return id >= 0 && static_cast<size_t>(id) < keys_.size() && !key.empty() &&
           keys_[static_cast<size_t>(id)] == key;
  }

 private:
  void insert(const Entry& entry, uint64_t hash);

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

  struct Entry {
    TokenId left, right;
    Merge merge;
  };
  // The first of equal pairs stays.
  void insert(std::span<const Entry> entries);

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

// Fills `table` from "left right" lines, best first. `append` turns the written form of a token
// into its key: bool(std::string_view written, std::string& out), false if it is no token's form.
// Lines about texts that are not in `tokens` can never apply and are left out.
template <typename Append>
void load_merges(const GgufStrings& lines, const TokenTable& tokens, Append&& append,
                 MergeTable& table) {
  constexpr size_t kBatch = 32;  // so many look-ups are in flight at once
  struct Line {
    size_t begin, middle, end;  // of left + right in `joined`
    uint64_t left_hash, right_hash;
    uint32_t rank;
  };
  std::vector<Line> batch;
  std::vector<MergeTable::Entry> entries;
  std::string joined;
  TokenId made = -1;  // most lists make their tokens in the order of their ids
  const auto look_up = [&] {
    const std::string_view all = joined;
    for (const Line& line : batch) {
      const std::string_view key = all.substr(line.begin, line.end - line.begin);
      const size_t left_size = line.middle - line.begin;
      const TokenId left = tokens.find(key.substr(0, left_size), line.left_hash);
      const TokenId right = tokens.find(key.substr(left_size), line.right_hash);
      if (left < 0 || right < 0) continue;
      made = tokens.is(made + 1, key) ? made + 1 : tokens.find(key);
      if (made >= 0) entries.push_back({left, right, {line.rank, made}});
    }
    table.insert(entries);
    batch.clear();
    entries.clear();
    joined.clear();
  };
  for (size_t rank = 0; rank < lines.size(); ++rank) {
    const std::string_view text = lines[rank];
    const size_t space = text.find(' ', 1);
    if (space == std::string_view::npos) continue;
    Line line{joined.size(), 0, 0, 0, 0, static_cast<uint32_t>(rank)};
    if (!append(text.substr(0, space), joined)) continue;
    line.middle = joined.size();
    if (!append(text.substr(space + 1), joined)) continue;
    line.end = joined.size();
    const std::string_view all = joined;
    line.left_hash = tokens.hash(all.substr(line.begin, line.middle - line.begin));
    line.right_hash = tokens.hash(all.substr(line.middle));
    tokens.prefetch(line.left_hash);
    tokens.prefetch(line.right_hash);
    batch.push_back(line);
    if (batch.size() == kBatch) look_up();
  }
  look_up();
}

}  // namespace serval
