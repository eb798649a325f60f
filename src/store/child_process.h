// Runs a program without a shell, collecting the end of what it prints.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace serval {

struct ChildResult {
  bool started = false;  // false: no such program
  int status = 0;        // exit status; 128 + signal when it was killed
  std::string output;    // the last 16 KiB of stdout and stderr together
};

// The child gets its own process group, no standard input, and `extra_environment` on top of ours.
// `tick` is called about five times a second; when it returns false the whole group is ended and
// Error(kCancelled) is thrown.
ChildResult run_child(const std::vector<std::string>& arguments,
                      const std::vector<std::pair<std::string, std::string>>& extra_environment,
                      const std::function<bool()>& tick);

}  // namespace serval
