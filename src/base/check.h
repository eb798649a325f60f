// SERVAL_CHECK: our own invariants. Ends the process with the place and the condition.
// Never use it on bytes from a file, a socket or a caller: those get an Error.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace serval {
[[noreturn]] inline void check_failed(const char* file, int line, const char* condition) {
  std::fprintf(stderr, "serval: internal error at %s:%d: %s\n", file, line, condition);
  std::abort();
}
}  // namespace serval

#define SERVAL_CHECK(condition) \
  ((condition) ? static_cast<void>(0) : ::serval::check_failed(__FILE__, __LINE__, #condition))
