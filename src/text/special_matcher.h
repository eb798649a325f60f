// SpecialMatcher: finds the longest of a set of literal texts at a position. The texts are sorted;
// a match narrows a range of them byte by byte, so the cost is bounded by the longest text, which
// is capped. Immutable, thread-safe.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "text/vocab.h"

namespace serval {

class SpecialMatcher {
 public:
  struct Entry {
    std::string text;
    TokenId id = -1;
    bool control = false;
  };
  struct Match {
    TokenId id = -1;  // -1: none
    size_t length = 0;
  };
  // Longer texts never match, so that a crafted vocabulary cannot make matching quadratic.
  static constexpr size_t kMaxText = 512;

  explicit SpecialMatcher(std::vector<Entry> entries);

  bool empty() const { return entries_.empty(); }
  bool may_start(char byte) const { return starts_[static_cast<unsigned char>(byte)].count != 0; }

  // The longest text at `pos`. Control texts must end at or before `control_end`.
  Match match(std::string_view text, size_t pos, size_t control_end) const;

 private:
  struct Range {
    uint32_t begin = 0, count = 0;
  };
  std::vector<Entry> entries_;  // by text, unique
  std::array<Range, 256> starts_{};
};

}  // namespace serval
