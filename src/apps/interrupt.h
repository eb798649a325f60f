// Ctrl-C. Work that can stop cleanly opens an InterruptScope and polls interrupted(); everywhere
// else, and at the second Ctrl-C inside a scope, the process ends at once with exit code 130.
#pragma once

namespace serval {

void install_signal_handlers();

// True when SIGINT or SIGTERM came since the innermost scope began.
bool interrupted();

class InterruptScope {
 public:
  InterruptScope();
  ~InterruptScope();
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;
};

}  // namespace serval
