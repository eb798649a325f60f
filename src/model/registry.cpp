// The list of architectures. A new one is a file in arch/ and a row here.
#include <array>

#include "base/quoted.h"
#include "model/arch/architectures.h"
#include "serval/error.h"

namespace serval {

std::span<const Architecture> architectures() {
  static const std::array<Architecture, 4> kArchitectures = {
      llama_architecture(),
      qwen2_architecture(),
      qwen3_architecture(),
      gemma3_architecture(),
  };
  return kArchitectures;
}

const Architecture& find_architecture(const GgufFile& file) {
  const std::optional<std::string> name = file.get_string("general.architecture");
  std::string supported;
  for (const Architecture& each : architectures()) {
    if (name && each.name == *name) return each;
    supported += (supported.empty() ? "" : ", ") + std::string(each.name);
  }
  throw Error(ErrorCode::kUnsupported,
              file.path() + ": " +
                  (name ? "architecture " + quoted(*name) + " is not supported"
                        : std::string("no general.architecture in the metadata")) +
                  "; supported: " + supported);
}

std::unique_ptr<Model> load_model(GgufFile& file, Backend& backend, const LoadProgress& progress) {
  const Architecture& architecture = find_architecture(file);
  return architecture.load(file, architecture.read_config(file), backend, progress);
}

}  // namespace serval
