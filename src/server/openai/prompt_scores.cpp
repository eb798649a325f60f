// log softmax(x)_i = x_i - max - log(sum exp(x - max)), summed in double: a vocabulary of 250,000
// small terms would lose digits in float. The likeliest K are kept in a sorted list of at most
// twenty: nearly every candidate fails the comparison with its last.
#include "server/openai/prompt_scores.h"

#include <algorithm>
#include <cmath>

namespace serval {

PromptScores::PromptScores(std::vector<TokenId> tokens, int top)
    : entries_(tokens.size()), top_(static_cast<size_t>(top)) {
  for (size_t i = 0; i < tokens.size(); ++i) entries_[i].id = tokens[i];
  best_.reserve(top_ + 1);
}

void PromptScores::add(int position, const float* logits, int vocab) {
  const auto next = static_cast<size_t>(position) + 1;
  if (next >= entries_.size()) return;  // scores the first generated token
  const float highest = *std::max_element(logits, logits + vocab);
  double sum = 0;
  best_.clear();
  for (TokenId id = 0; id < vocab; ++id) {
    sum += static_cast<double>(std::exp(logits[id] - highest));
    if (top_ == 0 || (best_.size() == top_ && logits[id] <= best_.back().second)) continue;
    const auto at = std::upper_bound(best_.begin(), best_.end(), logits[id],
                                     [](float x, const auto& kept) { return x > kept.second; });
    best_.insert(at, {id, logits[id]});
    if (best_.size() > top_) best_.pop_back();
  }
  const double norm = static_cast<double>(highest) + std::log(sum);
  const auto logprob = [&](float x) { return static_cast<float>(static_cast<double>(x) - norm); };
  TokenLogprob& entry = entries_[next];
  entry.logprob = logprob(logits[entry.id]);
  entry.top.clear();
  for (const auto& [id, x] : best_) entry.top.emplace_back(id, logprob(x));
}

}  // namespace serval
