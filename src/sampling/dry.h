// DRY ("don't repeat yourself"): a token that would extend a repetition of the context's end is
// made less likely, the more the longer the repetition.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "serval/request.h"

namespace serval {

// Tokens at which repetitions start anew. Built once per list of breaker strings from the
// vocabulary (engine/input), immutable, shared between requests.
struct DryBreakers {
  std::vector<bool> single;  // [vocab] the token's text contains a whole breaker
  // A breaker spread over several tokens: the token it begins in -> the tokens that complete it.
  std::unordered_map<TokenId, std::vector<std::vector<TokenId>>> sequences;

  bool is_single(TokenId id) const {
    return static_cast<size_t>(id) < single.size() && single[static_cast<size_t>(id)];
  }
};

struct DryMatch {
  TokenId token;   // would continue a repetition
  int32_t length;  // of the repetition so far
};

// For every token that followed an earlier occurrence of the end of `tokens`: the longest such
// occurrence, if at least `allowed_length`. `z` is scratch; appends to `out`, a token may appear
// more than once.
void find_repetitions(std::span<const TokenId> tokens, int allowed_length,
                      const DryBreakers* breakers, std::vector<int32_t>& z,
                      std::vector<DryMatch>& out);

}  // namespace serval
