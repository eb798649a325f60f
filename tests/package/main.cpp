#include <cstdio>

#include "serval/engine.h"

// Loading a model that is not there must fail with an Error, which proves that the library is
// linked.
int main() {
  serval::EngineConfig config;
  config.model = "/nonexistent/model.gguf";
  const auto engine = serval::Engine::load(config);
  if (engine.ok() || engine.error().code() != serval::ErrorCode::kNotFound) return 1;
  std::printf("%s\n", engine.error().what());
}
