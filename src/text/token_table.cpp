#include "text/token_table.h"

#include <random>

#include "base/check.h"

namespace serval {
namespace {
size_t slots_for(size_t keys) {
  size_t slots = 16;
  while (slots < keys * 2) slots *= 2;
  return slots;
}
}  // namespace

uint64_t random_seed() {
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32 | device()) | 1;
}

TokenTable::TokenTable(size_t capacity, size_t ids)
    : seed_(random_seed()), mask_(slots_for(capacity) - 1), slots_(mask_ + 1), keys_(ids) {}

void TokenTable::insert(std::string_view key, TokenId id) {
  const uint64_t hash = hash_bytes(key.data(), key.size(), seed_);
  const auto tag = static_cast<uint32_t>(hash >> 32);
  for (size_t i = hash & mask_;; i = (i + 1) & mask_) {
    Slot& slot = slots_[i];
    if (slot.id_plus_one == 0) {
      slot = {tag, static_cast<uint32_t>(id) + 1};
      keys_[static_cast<size_t>(id)] = key;
      return;
    }
    if (slot.tag == tag && keys_[slot.id_plus_one - 1] == key) return;
  }
}

MergeTable::MergeTable(size_t capacity)
    : seed_(random_seed()), mask_(slots_for(capacity) - 1), slots_(mask_ + 1) {}

void MergeTable::insert(TokenId left, TokenId right, Merge merge) {
  SERVAL_CHECK(left >= 0 && right >= 0);
  const uint64_t key = pack(left, right);
  for (size_t i = mix(key, seed_) & mask_;; i = (i + 1) & mask_) {
    Slot& slot = slots_[i];
    if (slot.key == key) return;
    if (slot.key == kEmpty) {
      slot = {key, merge};
      return;
    }
  }
}

}  // namespace serval
