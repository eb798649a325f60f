// What running a model will take: `serval inspect --plan`. Nothing of the weights is read.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>

#include "apps/options.h"
#include "format/gguf.h"
#include "model/model.h"

namespace serval {

struct MemoryPlan {
  ModelPlan model;
  StepLimits limits;
  uint64_t kv_tokens = 0, kv_bytes = 0, text_bytes = 0, program_bytes = 0, total_bytes = 0;
};

// Memory of this process now.
uint64_t resident_bytes();

// `program_bytes`: of this process before it opened the model. Throws Error as the loader does.
MemoryPlan make_memory_plan(GgufFile& file, const EngineOptions& options, uint64_t program_bytes);
boost::json::object memory_plan_json(const MemoryPlan& plan);
void print_memory_plan(const MemoryPlan& plan);

}  // namespace serval
