// The CPU backend: weights in 16-row panels, int8 activations, one worker team.
#pragma once

#include <memory>

#include "backend/backend.h"

namespace serval {

// options.threads <= 0: all usable cores. options.isa: "avx512", "avx2", "portable" or "" (best;
// the environment variable SERVAL_FORCE_ISA overrides). Throws Error(kInvalidArgument /
// kUnsupported).
std::unique_ptr<Backend> create_cpu_backend(const BackendOptions& options);
// A ScratchBytes function; `threads` <= 0: all usable cores.
size_t cpu_scratch_bytes(const ScratchNeeds& needs, const StepLimits& limits, int threads);

}  // namespace serval
