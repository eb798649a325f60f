// `serval bench --profile`: where the time of a row went, by operator, and by layer in JSON.
#pragma once

#include <boost/json.hpp>
#include <string>
#include <vector>

#include "apps/speed_limits.h"
#include "serval/watch.h"

namespace serval {

using Profile = std::vector<OperatorWork>;

// What was done between two readings of Engine::work().
Profile work_between(const Profile& before, const Profile& after);

// One line for each operator, all layers together.
std::string profile_table(const Profile& profile, const MachineLimits& limits);
// Operators with their layers.
boost::json::array profile_json(const Profile& profile, const MachineLimits& limits);

}  // namespace serval
