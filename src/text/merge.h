// The merging loop shared by all BPE families: symbols of one word are joined, best pair first,
// leftmost of equals, until no pair can be joined. Short words scan a small array; long ones use a
// heap of (rank, position) keys over a linked list, O(n log n).
//
// `Rule` says what may be joined:  Merge operator()(TokenId left, TokenId right, std::string_view
// joined) where `joined` is the text of both symbols together.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <queue>
#include <string_view>
#include <vector>

#include "text/token_table.h"

namespace serval {

struct Symbol {
  TokenId id = -1;     // -1: no token (yet)
  uint32_t begin = 0;  // offset in the word; it ends where the next begins
};

namespace merge_detail {

constexpr size_t kSmallWord = 40;

template <typename Rule>
void merge_small(std::string_view word, std::vector<Symbol>& symbols, Rule&& rule) {
  Symbol s[kSmallWord + 1];
  Merge pair[kSmallWord];  // pair[i] joins s[i] and s[i + 1]
  size_t n = symbols.size();
  std::copy(symbols.begin(), symbols.end(), s);
  s[n].begin = static_cast<uint32_t>(word.size());
  const auto look = [&](size_t i) {
    pair[i] = rule(s[i].id, s[i + 1].id, word.substr(s[i].begin, s[i + 2].begin - s[i].begin));
  };
  for (size_t i = 0; i + 1 < n; ++i) look(i);
  while (n > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; ++i) {
      if (pair[i].rank < pair[best].rank) best = i;
    }
    if (pair[best].rank == UINT32_MAX) break;
    s[best].id = pair[best].id;
    for (size_t i = best + 1; i < n; ++i) s[i] = s[i + 1];
    for (size_t i = best + 1; i + 2 < n; ++i) pair[i] = pair[i + 1];
    --n;
    if (best + 1 < n) look(best);
    if (best > 0) look(best - 1);
  }
  symbols.assign(s, s + n);
}

template <typename Rule>
void merge_large(std::string_view word, std::vector<Symbol>& symbols, Rule&& rule) {
  constexpr uint32_t kEnd = UINT32_MAX;
  struct Node {
    uint32_t previous, next;
    Merge pair;  // with the next symbol
  };
  const auto n = static_cast<uint32_t>(symbols.size());
  std::vector<Node> nodes(n);
  for (uint32_t i = 0; i < n; ++i) nodes[i] = {i == 0 ? kEnd : i - 1, i + 1 < n ? i + 1 : kEnd, {}};
  const auto end_of = [&](uint32_t i) {
    return nodes[i].next == kEnd ? static_cast<uint32_t>(word.size())
                                 : symbols[nodes[i].next].begin;
  };
  std::vector<uint64_t> keys;
  keys.reserve(n);
  const auto look = [&](uint32_t i) {
    const uint32_t next = nodes[i].next;
    nodes[i].pair = next == kEnd
                        ? Merge{}
                        : rule(symbols[i].id, symbols[next].id,
                               word.substr(symbols[i].begin, end_of(next) - symbols[i].begin));
    return nodes[i].pair.rank != UINT32_MAX;
  };
  const auto key = [&](uint32_t i) { return static_cast<uint64_t>(nodes[i].pair.rank) << 32 | i; };
  for (uint32_t i = 0; i + 1 < n; ++i) {
    if (look(i)) keys.push_back(key(i));
  }
  std::priority_queue<uint64_t, std::vector<uint64_t>, std::greater<>> heap(std::greater<>{},
                                                                            std::move(keys));
  while (!heap.empty()) {
    const auto i = static_cast<uint32_t>(heap.top());
    const auto rank = static_cast<uint32_t>(heap.top() >> 32);
    heap.pop();
    if (nodes[i].pair.rank != rank) continue;  // the pair changed since it was queued
    const uint32_t gone = nodes[i].next;
    symbols[i].id = nodes[i].pair.id;
    nodes[i].next = nodes[gone].next;
    if (nodes[i].next != kEnd) nodes[nodes[i].next].previous = i;
    nodes[gone].pair = {};
    if (look(i)) heap.push(key(i));
    const uint32_t previous = nodes[i].previous;
    if (previous != kEnd && look(previous)) heap.push(key(previous));
  }
  uint32_t kept = 0;
  for (uint32_t i = 0; i != kEnd; i = nodes[i].next) symbols[kept++] = symbols[i];
  symbols.resize(kept);
}

}  // namespace merge_detail

// Joins `symbols` of `word` in place. REQUIRES: word.size() < 4 GiB; begins ascending.
template <typename Rule>
void merge_symbols(std::string_view word, std::vector<Symbol>& symbols, Rule&& rule) {
  if (symbols.size() < 2) return;
  if (symbols.size() <= merge_detail::kSmallWord) {
    merge_detail::merge_small(word, symbols, rule);
  } else {
    merge_detail::merge_large(word, symbols, rule);
  }
}

}  // namespace serval
