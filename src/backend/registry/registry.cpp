// The list of backends. A new one is a folder with a create function, and a row here.
#include <array>

#include "backend/backend.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/reference/reference_backend.h"
#include "serval/error.h"

namespace serval {
namespace {

constexpr std::array<BackendRow, 2> kBackends = {{
    {"cpu", "fast kernels for this machine's vector instructions", create_cpu_backend,
     cpu_scratch_bytes},
    {"reference", "scalar and slow: the yardstick of the others", create_reference_backend,
     reference_scratch_bytes},
}};

}  // namespace

std::span<const BackendRow> backends() { return kBackends; }

const BackendRow& find_backend(std::string_view name) {
  std::string names;
  for (const BackendRow& row : kBackends) {
    if (row.name == name) return row;
    names += (names.empty() ? "" : ", ") + std::string(row.name);
  }
  throw Error(ErrorCode::kNotFound,
              "no backend named \"" + std::string(name) + "\"; there are: " + names);
}

std::unique_ptr<Backend> create_backend(std::string_view name, const BackendOptions& options) {
  return find_backend(name).create(options);
}

}  // namespace serval
