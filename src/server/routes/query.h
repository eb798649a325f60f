// The query of a request: NAME=VALUE&... with names that the route knows, each at most once.
#pragma once

#include <charconv>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace serval {

class Query {
 public:
  // nullopt: an unknown, repeated or malformed part.
  static std::optional<Query> parse(std::string_view text,
                                    std::initializer_list<std::string_view> names);

  // Empty when it is not there.
  std::string_view text(std::string_view name) const;
  bool has(std::string_view name) const { return values_.contains(name); }

 private:
  std::map<std::string, std::string, std::less<>> values_;
};

// A whole number without sign and within the range.
inline std::optional<uint64_t> whole_number(std::string_view text, uint64_t least, uint64_t most) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value < least || value > most ? std::nullopt : std::optional(value);
}

}  // namespace serval
