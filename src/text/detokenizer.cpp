// A character may be spread over several tokens, so bytes are held back while they can still become
// a whole character; at most three are ever held.
#include "base/utf8.h"
#include "text/tokenizer.h"

namespace serval {
namespace {

// Where an unfinished character at the end of `bytes` begins; size() when there is none.
size_t unfinished_tail(std::string_view bytes) {
  for (size_t back = 1; back <= 3 && back <= bytes.size(); ++back) {
    const std::string_view tail = bytes.substr(bytes.size() - back);
    if ((static_cast<unsigned char>(tail[0]) & 0xC0) == 0x80) continue;
    const Utf8Step step = decode_utf8(tail);
    return step.truncated && step.length == back ? bytes.size() - back : bytes.size();
  }
  return bytes.size();
}

}  // namespace

std::string Detokenizer::push(TokenId id) {
  std::string bytes = tokenizer_->piece(id, special_);
  if (bytes.empty()) return {};
  if (first_ && tokenizer_->drops_leading_space() && bytes[0] == ' ') bytes.erase(0, 1);
  first_ = false;
  held_ += bytes;
  const size_t whole = unfinished_tail(held_);
  std::string out = replace_invalid_utf8(std::string_view(held_).substr(0, whole));
  held_.erase(0, whole);
  return out;
}

std::string Detokenizer::finish() {
  std::string out = replace_invalid_utf8(held_);
  held_.clear();
  first_ = true;
  return out;
}

}  // namespace serval
