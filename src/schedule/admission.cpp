#include "schedule/admission.h"

#include <algorithm>
#include <climits>

#include "backend/forward_batch.h"
#include "base/check.h"

namespace serval {
namespace {

constexpr size_t kAnswers = 128;      // latest ones that count
constexpr size_t kEnoughAnswers = 8;  // to believe in them
constexpr int kFirstGuess = 512;      // tokens, until then
constexpr size_t kShorter = 4;        // of 5: four answers in five are not longer than expected

}  // namespace

Tenant& FairShare::enter(const std::string& name) {
  bool anybody = false;
  double least = 0;
  for (const auto& [key, tenant] : tenants_) {
    if (tenant.sequences == 0) continue;
    least = anybody ? std::min(least, tenant.served) : tenant.served;
    anybody = true;
  }
  // Whoever left and is owed nothing, nor owes, can be forgotten.
  std::erase_if(tenants_, [&](const auto& entry) {
    return entry.second.sequences == 0 && (!anybody || entry.second.served <= least);
  });
  Tenant& tenant = tenants_[name];
  if (tenant.sequences++ == 0) tenant.served = std::max(tenant.served, least);
  return tenant;
}

void FairShare::leave(Tenant& tenant) {
  SERVAL_CHECK(tenant.sequences > 0);
  --tenant.sequences;
}

AnswerLengths::AnswerLengths() {
  latest_.reserve(kAnswers);
  sorted_.reserve(kAnswers);
}

void AnswerLengths::record(int tokens) {
  if (latest_.size() < kAnswers) {
    latest_.push_back(tokens);
  } else {
    sorted_.erase(std::lower_bound(sorted_.begin(), sorted_.end(), latest_[next_]));
    latest_[next_] = tokens;
    next_ = (next_ + 1) % kAnswers;
  }
  sorted_.insert(std::upper_bound(sorted_.begin(), sorted_.end(), tokens), tokens);
}

int AnswerLengths::expected_rest(int tokens, int most) const {
  int rest = std::max(kFirstGuess, tokens);
  if (sorted_.size() >= kEnoughAnswers) {
    const auto longer = std::upper_bound(sorted_.begin(), sorted_.end(), tokens);
    const auto count = static_cast<size_t>(sorted_.end() - longer);
    // One that outlived all the others may well live half as long again.
    rest = count == 0 ? tokens / 2 + kBlockTokens
                      : *(longer + static_cast<std::ptrdiff_t>(count * kShorter / 5)) - tokens;
  }
  return std::clamp(rest, 0, std::max(most, 0));
}

int peak_growth(std::vector<Growth>& sequences) {
  std::sort(sequences.begin(), sequences.end(),
            [](const Growth& a, const Growth& b) { return a.rest < b.rest; });
  int peak = INT_MIN;
  int freed = 0;
  for (size_t ending = 0; ending < sequences.size(); ++ending) {
    int needed = -freed;
    for (size_t i = ending; i < sequences.size(); ++i) {
      const Growth& s = sequences[i];
      needed += (s.known + sequences[ending].rest + kBlockTokens - 1) / kBlockTokens - s.blocks;
    }
    peak = std::max(peak, needed);
    freed += sequences[ending].freed;
  }
  return peak;
}

}  // namespace serval
