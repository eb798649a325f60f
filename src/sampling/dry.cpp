// DRY sampling (p-e-w, https://github.com/oobabooga/text-generation-webui/pull/5677).
//
// Let s be the context read backwards. The Z function of s gives, for every earlier position, how
// many tokens before it equal the tokens at the end of the context, in linear time (Gusfield,
// "Algorithms on Strings, Trees and Sequences", 1.4). The token that followed that position would
// continue the repetition. A match never reaches across a sequence breaker: only the tokens after
// the last breaker of the context count.
#include "sampling/dry.h"

#include <algorithm>

namespace serval {
namespace {

// Tokens after the last breaker of the context.
int32_t tokens_after_breaker(std::span<const TokenId> tokens, const DryBreakers& breakers) {
  const size_t n = tokens.size();
  for (size_t back = 0; back < n; ++back) {
    const size_t at = n - 1 - back;
    if (breakers.is_single(tokens[at])) return static_cast<int32_t>(back);
    const auto found = breakers.sequences.find(tokens[at]);
    if (found == breakers.sequences.end()) continue;
    size_t longest = 0;
    for (const std::vector<TokenId>& tail : found->second) {
      if (tail.size() <= back && std::equal(tail.begin(), tail.end(),
                                            tokens.begin() + static_cast<std::ptrdiff_t>(at) + 1)) {
        longest = std::max(longest, tail.size());
      }
    }
    if (longest > 0) return static_cast<int32_t>(back - longest);
  }
  return static_cast<int32_t>(n);
}

}  // namespace

void find_repetitions(std::span<const TokenId> tokens, int allowed_length,
                      const DryBreakers* breakers, std::vector<int32_t>& z,
                      std::vector<DryMatch>& out) {
  out.clear();
  const auto n = static_cast<int32_t>(tokens.size());
  const int32_t limit = breakers == nullptr ? n : tokens_after_breaker(tokens, *breakers);
  const int32_t shortest = std::max(allowed_length, 1);
  if (n < 2 || limit < shortest) return;
  const auto s = [&](int32_t i) { return tokens[static_cast<size_t>(n - 1 - i)]; };
  z.assign(static_cast<size_t>(n), 0);
  int32_t left = 0;
  int32_t right = 0;  // s[left, right) equals the prefix of the same length
  for (int32_t i = 1; i < n; ++i) {
    int32_t length = i < right ? std::min(right - i, z[static_cast<size_t>(i - left)]) : 0;
    while (i + length < n && s(length) == s(i + length)) ++length;
    z[static_cast<size_t>(i)] = length;
    if (i + length > right) {
      left = i;
      right = i + length;
    }
    length = std::min(length, limit);
    if (length < shortest) continue;
    const TokenId next = s(i - 1);
    if (breakers == nullptr || !breakers->is_single(next)) out.push_back({next, length});
  }
}

}  // namespace serval
