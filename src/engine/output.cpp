// Stop strings may begin inside one token and end inside another. After each push, everything up to
// the longest suffix of the text that is a beginning of some stop string is certain; of several
// matches the one that begins first wins, of those the longest. With at most 16 strings of 256
// bytes a direct search over the held text is small next to one step of any model.
#include "engine/output.h"

#include <algorithm>

namespace serval {

std::string StopMatcher::push(std::string_view text) {
  if (matched_ || text.empty()) return {};
  held_ += text;
  size_t first = std::string::npos;
  for (size_t i = 0; i < stops_.size(); ++i) {
    const size_t at = held_.find(stops_[i]);
    if (at == std::string::npos || at > first) continue;
    if (at < first || stops_[i].size() > stops_[*matched_].size()) matched_ = i;
    first = at;
  }
  size_t certain = first;
  if (!matched_) {
    certain = held_.size();
    for (const std::string& stop : stops_) {
      const size_t longest = std::min(stop.size() - 1, held_.size());
      for (size_t n = longest; n > 0; --n) {
        if (std::string_view(held_).ends_with(std::string_view(stop).substr(0, n))) {
          certain = std::min(certain, held_.size() - n);
          break;
        }
      }
    }
  }
  std::string out = held_.substr(0, certain);
  held_.erase(0, matched_ ? held_.size() : certain);
  return out;
}

std::string StopMatcher::finish() {
  std::string rest;
  if (!matched_) rest.swap(held_);
  return rest;
}

std::string OutputStream::push(TokenId token, bool look_for_stops) {
  std::string text = detokenizer_.push(token);
  // Text that came too early to stop is given out whole and cannot be part of a match.
  if (!look_for_stops) return stops_.finish() + text;
  return stops_.push(text);
}

std::string OutputStream::finish() {
  if (stops_.matched()) return {};
  const std::string shown = stops_.push(detokenizer_.finish());
  return shown + stops_.finish();
}

}  // namespace serval
