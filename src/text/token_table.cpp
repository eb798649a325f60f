#include "text/token_table.h"

#include <random>

#include "base/check.h"

namespace serval {
namespace {
constexpr size_t kAhead = 16;  // insertions whose memory is being fetched

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

void TokenTable::insert(std::span<const Entry> entries) {
  uint64_t hashes[kAhead];
  for (size_t n = 0; n < entries.size() + kAhead; ++n) {
    if (n >= kAhead) insert(entries[n - kAhead], hashes[n % kAhead]);
    if (n >= entries.size()) continue;
    hashes[n % kAhead] = hash(entries[n].key);
    prefetch(hashes[n % kAhead]);
  }
}

void TokenTable::insert(const Entry& entry, uint64_t hash) {
  const auto tag = static_cast<uint32_t>(hash >> 32);
  for (size_t i = hash & mask_;; i = (i + 1) & mask_) {
    Slot& slot = slots_[i];
    if (slot.id_plus_one == 0) {
      slot = {tag, static_cast<uint32_t>(entry.id) + 1};
      keys_[static_cast<size_t>(entry.id)] = entry.key;
      return;
    }
    if (slot.tag == tag && keys_[slot.id_plus_one - 1] == entry.key) return;
  }
}

MergeTable::MergeTable(size_t capacity)
    : seed_(random_seed()), mask_(slots_for(capacity) - 1), slots_(mask_ + 1) {}

void MergeTable::insert(std::span<const Entry> entries) {
  for (const Entry& entry : entries) {
    __builtin_prefetch(&slots_[mix(pack(entry.left, entry.right), seed_) & mask_], 1);
  }
  for (const Entry& entry : entries) {
    SERVAL_CHECK(entry.left >= 0 && entry.right >= 0);
    const uint64_t key = pack(entry.left, entry.right);
    for (size_t i = mix(key, seed_) & mask_;; i = (i + 1) & mask_) {
      Slot& slot = slots_[i];
      if (slot.key == key) break;
      if (slot.key == kEmpty) {
        slot = {key, entry.merge};
        break;
      }
    }
  }
}

}  // namespace serval
