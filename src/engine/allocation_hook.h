// Test hook: counts the allocations of this program. Replacing operator new is per program, so the
// hook lives in a test source of its own (allocation_hook_test.cpp).
#pragma once

#include <cstdint>

namespace serval::testing {

// Between these two, on the calling thread.
void start_counting_allocations();
int64_t stop_counting_allocations();

}  // namespace serval::testing
