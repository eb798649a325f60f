// The reference backend: scalar, slow, obviously right. It defines the result of every verb; other
// backends are tested against it. Weights stay in their file format and are decoded row by row.
#pragma once

#include <memory>

#include "backend/backend.h"

namespace serval {

// `options.threads` splits independent outputs, so it never changes a result; `isa` is ignored.
std::unique_ptr<Backend> create_reference_backend(const BackendOptions& options);
// A ScratchBytes function.
size_t reference_scratch_bytes(const ScratchNeeds& needs, const StepLimits& limits, int threads);

}  // namespace serval
