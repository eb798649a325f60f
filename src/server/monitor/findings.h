// What `serval doctor` and the monitor's doctor say of this machine and of this server.
#pragma once

#include <string>
#include <vector>

#include "serval/engine.h"
#include "server/http/handler.h"
#include "server/monitor/power.h"

namespace serval {

struct Finding {
  std::string name, value, advice;  // advice: empty when all is well
};

// How a running server fares; numbers since its start unless said otherwise.
std::vector<Finding> server_findings(const ModelInfo& model, const EngineStats& stats,
                                     const ConnectionCounts& connections,
                                     const std::vector<std::string>& notices,
                                     const std::string& power, bool has_disk);

}  // namespace serval
