// JSON as people and programs both like to read it: shortest round-trip numbers, optional
// indentation.
#pragma once

#include <boost/json.hpp>
#include <string>

namespace serval {

// Two-space indentation; arrays of plain numbers stay on one line. NaN and infinity become null.
std::string pretty_json(const boost::json::value& value);
// One line.
std::string compact_json(const boost::json::value& value);

}  // namespace serval
