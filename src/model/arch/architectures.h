// One function per architecture file; registry.cpp lists them.
#pragma once

#include "model/model.h"

namespace serval {

Architecture llama_architecture();
Architecture qwen2_architecture();
Architecture qwen3_architecture();
Architecture gemma3_architecture();

}  // namespace serval
