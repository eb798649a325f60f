#include "text/special_matcher.h"

#include <algorithm>

namespace serval {

SpecialMatcher::SpecialMatcher(std::vector<Entry> entries) : entries_(std::move(entries)) {
  std::erase_if(entries_,
                [](const Entry& e) { return e.text.empty() || e.text.size() > kMaxText; });
  std::stable_sort(entries_.begin(), entries_.end(),
                   [](const Entry& a, const Entry& b) { return a.text < b.text; });
  const auto same = [](const Entry& a, const Entry& b) { return a.text == b.text; };
  entries_.erase(std::unique(entries_.begin(), entries_.end(), same), entries_.end());
  for (size_t i = entries_.size(); i-- > 0;) {
    Range& range = starts_[static_cast<unsigned char>(entries_[i].text[0])];
    range.begin = static_cast<uint32_t>(i);
    ++range.count;
  }
}

SpecialMatcher::Match SpecialMatcher::match(std::string_view text, size_t pos,
                                            size_t control_end) const {
  const Range start = starts_[static_cast<unsigned char>(text[pos])];
  auto low = entries_.begin() + start.begin;
  auto high = low + start.count;
  Match best;
  for (size_t depth = 1; low != high; ++depth) {
    // All of [low, high) begin with the `depth` bytes at pos; the one that ends here sorts first.
    if (low->text.size() == depth) {
      if (!low->control || pos + depth <= control_end) best = {low->id, depth};
      ++low;
    }
    if (pos + depth >= text.size()) break;
    const auto byte = static_cast<unsigned char>(text[pos + depth]);
    const auto at = [depth](const Entry& e) { return static_cast<unsigned char>(e.text[depth]); };
    low = std::partition_point(low, high, [&](const Entry& e) { return at(e) < byte; });
    high = std::partition_point(low, high, [&](const Entry& e) { return at(e) <= byte; });
  }
  return best;
}

}  // namespace serval
