// What can be read of this machine without measuring, for `serval doctor` and the monitor's doctor.
#pragma once

#include <vector>

#include "server/monitor/findings.h"

namespace serval {

std::vector<Finding> machine_findings();

}  // namespace serval
