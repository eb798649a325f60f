// The marks are stored as the list of offsets where trust flips, which is empty for nearly every
// string: only text that mixes a literal with outside data pays for more than one flag.
#include "text/chat/marked_text.h"

#include <algorithm>

namespace serval::chat {

void MarkedText::append(std::string_view bytes, bool trusted) {
  if (bytes.empty()) return;
  if (bytes_.empty()) {
    trusted_ = trusted;
    borders_.clear();
  } else {
    const bool last = trusted_ != (borders_.size() % 2 == 1);
    if (last != trusted) borders_.push_back(bytes_.size());
  }
  bytes_.append(bytes);
}

void MarkedText::append(const MarkedText& other, size_t begin, size_t end) {
  if (other.borders_.empty()) {
    append(std::string_view(other.bytes_).substr(begin, end - begin), other.trusted_);
    return;
  }
  while (begin < end) {
    const size_t stop = std::min(end, other.run_end(begin));
    append(std::string_view(other.bytes_).substr(begin, stop - begin), other.trusted_at(begin));
    begin = stop;
  }
}

MarkedText MarkedText::slice(size_t begin, size_t end) const {
  MarkedText out;
  if (begin == end) out.trusted_ = trusted_at(begin);
  out.append(*this, begin, end);
  return out;
}

bool MarkedText::trusted_at(size_t offset) const {
  if (borders_.empty()) return trusted_;
  const auto flips = std::upper_bound(borders_.begin(), borders_.end(), offset) - borders_.begin();
  return trusted_ != (flips % 2 == 1);
}

size_t MarkedText::run_end(size_t offset) const {
  const auto next = std::upper_bound(borders_.begin(), borders_.end(), offset);
  return next == borders_.end() ? bytes_.size() : *next;
}

}  // namespace serval::chat
