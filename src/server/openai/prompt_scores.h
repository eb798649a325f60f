// Log-probabilities of a prompt's own tokens, gathered while the prompt is computed.
#pragma once

#include <span>
#include <vector>

#include "serval/request.h"

namespace serval {

// add() runs on the engine thread; entries() is read once the request's first token or end was
// delivered, which orders the two.
class PromptScores {
 public:
  // `top`: likeliest tokens kept with each.
  PromptScores(std::vector<TokenId> tokens, int top);

  // The logits after the token at `position`: they score the next one. logits: [vocab]
  void add(int position, const float* logits, int vocab);

  // One per prompt token; the first has nothing before it, and no `top`.
  std::span<const TokenLogprob> entries() const { return entries_; }

 private:
  std::vector<TokenLogprob> entries_;
  const size_t top_;
  std::vector<std::pair<TokenId, float>> best_;  // of one position, falling
};

}  // namespace serval
