// A request body as JSON, within bounds on depth and on the number of values.
#pragma once

#include <boost/json/object.hpp>
#include <optional>
#include <string_view>

#include "server/openai/api_error.h"

namespace serval {

inline constexpr size_t kJsonDepth = 64;
inline constexpr size_t kJsonValues = 200'000;

// The body must be one JSON object.
std::optional<ApiError> parse_body(std::string_view body, boost::json::object& out);

}  // namespace serval
