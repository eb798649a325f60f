#include "watch/life_ring.h"

#include <algorithm>
#include <cstring>

namespace serval {
namespace {

uint64_t pair(int32_t high, int32_t low) {
  return uint64_t{static_cast<uint32_t>(high)} << 32 | static_cast<uint32_t>(low);
}

}  // namespace

void LifeRing::push(const LifeEvent& e) {
  std::array<uint64_t, 4> label{};
  static_assert(sizeof(label) == sizeof(e.tenant));
  std::memcpy(label.data(), e.tenant.data(), sizeof(label));
  const int32_t kinds = static_cast<int32_t>(e.kind) << 8 | static_cast<int32_t>(e.outcome);
  events_.push({static_cast<uint64_t>(e.at_us), e.request, pair(kinds, e.preemptions),
                pair(e.prompt_tokens, e.cached_tokens), static_cast<uint32_t>(e.completion_tokens),
                label[0], label[1], label[2], label[3]});
}

std::vector<LifeEvent> LifeRing::after(uint64_t number, size_t most) const {
  const uint64_t newest = events_.newest();
  if (number >= newest) return {};
  number = std::max(number, newest - std::min<uint64_t>(newest, kEvents));
  std::vector<LifeEvent> out;
  decltype(events_)::Words w;
  while (number < newest && out.size() < most) {
    if (!events_.read(++number, w)) continue;
    LifeEvent e;
    e.number = number;
    e.at_us = static_cast<int64_t>(w[0]);
    e.request = w[1];
    e.kind = static_cast<LifeKind>(w[2] >> 40);
    e.outcome = static_cast<LifeOutcome>(w[2] >> 32 & 0xFF);
    e.preemptions = static_cast<int32_t>(w[2] & 0xFFFFFFFFU);
    e.prompt_tokens = static_cast<int32_t>(w[3] >> 32);
    e.cached_tokens = static_cast<int32_t>(w[3] & 0xFFFFFFFFU);
    e.completion_tokens = static_cast<int32_t>(w[4]);
    std::memcpy(e.tenant.data(), &w[5], sizeof(e.tenant));
    out.push_back(e);
  }
  return out;
}

}  // namespace serval
