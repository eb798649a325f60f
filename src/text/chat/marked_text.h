// MarkedText: UTF-8 bytes that remember, byte by byte, whether the template's author wrote them
// (trusted) or they came from outside. Every string of the template engine is one of these, so that
// trust survives slicing, joining and filters without any of them having to think about it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace serval::chat {

class MarkedText {
 public:
  MarkedText() = default;
  MarkedText(std::string bytes, bool trusted) : bytes_(std::move(bytes)), trusted_(trusted) {}

  const std::string& bytes() const { return bytes_; }
  std::string_view view() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }

  void append(std::string_view bytes, bool trusted);
  void append(const MarkedText& other) { append(other, 0, other.size()); }
  // Bytes [begin, end) of `other`. REQUIRES: begin <= end <= other.size(), &other != this.
  void append(const MarkedText& other, size_t begin, size_t end);

  MarkedText slice(size_t begin, size_t end) const;
  // Trust of the byte at `offset`; of the last byte beyond the end.
  bool trusted_at(size_t offset) const;
  // No byte comes from outside (true for the empty text that a literal is).
  bool all_trusted() const { return borders_.empty() && (trusted_ || bytes_.empty()); }
  // First offset after `offset` where the trust changes, or size().
  size_t run_end(size_t offset) const;
  void reserve(size_t bytes) { bytes_.reserve(bytes); }

 private:
  std::string bytes_;
  bool trusted_ = true;          // of the first run; each border flips it
  std::vector<size_t> borders_;  // strictly increasing, inside (0, size())
};

}  // namespace serval::chat
