#include "server/routes/query.h"

#include <algorithm>

#include "server/http/message.h"

namespace serval {

std::optional<Query> Query::parse(std::string_view text,
                                  std::initializer_list<std::string_view> names) {
  Query out;
  while (!text.empty()) {
    const std::string_view part = text.substr(0, text.find('&'));
    text.remove_prefix(std::min(text.size(), part.size() + 1));
    const size_t equals = part.find('=');
    if (equals == std::string_view::npos) return std::nullopt;
    const std::string_view name = part.substr(0, equals);
    std::string value;
    if (std::find(names.begin(), names.end(), name) == names.end() ||
        !percent_decode(part.substr(equals + 1), value) ||
        !out.values_.emplace(name, std::move(value)).second) {
      return std::nullopt;
    }
  }
  return out;
}

std::string_view Query::text(std::string_view name) const {
  const auto found = values_.find(name);
  return found == values_.end() ? std::string_view() : found->second;
}

}  // namespace serval
