// A system prompt's KV saved to a file and loaded by another engine: the restored run computes only
// what is new and gives the same tokens.
//   save_restore MODEL.gguf [STATE_FILE]
#include <cstdio>
#include <string>

#include "serval/engine.h"

namespace {

// A question after the system prompt; loads the state first if there is one.
serval::Completion ask(const std::string& model, const std::string& system,
                       const std::string& state, bool restore) {
  serval::EngineConfig config;
  config.model = model;
  config.context = 1024;
  auto engine = std::move(serval::Engine::load(config).value());
  if (restore) {
    const auto loaded = engine->load_state(state).value();
    std::printf("loaded %d tokens (%llu bytes)\n", loaded.tokens,
                static_cast<unsigned long long>(loaded.bytes));
  } else {
    engine->save_state(serval::TextPrompt{system}, state).value();
  }
  serval::Request request;
  request.prompt = serval::TextPrompt{system + "\n\nQuestion: What do whales eat?\nAnswer:"};
  request.max_tokens = 32;
  request.sampling.seed = 7;
  return std::move(serval::generate(*engine, request).value());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: save_restore MODEL.gguf [STATE_FILE]\n");
    return 2;
  }
  const std::string state = argc > 2 ? argv[2] : "system_prompt.kv";
  std::string system = "You are a guide in a museum of the sea. You answer in one short sentence.";
  for (int i = 1; i <= 20; ++i) system += " Room " + std::to_string(i) + " shows a whale.";
  try {
    const auto before = ask(argv[1], system, state, false);
    const auto after = ask(argv[1], system, state, true);
    std::printf("%s\n", after.text.c_str());
    std::printf("%d of %d prompt tokens came from the file; %s\n",
                after.finished.usage.cached_tokens, after.finished.usage.prompt_tokens,
                after.tokens == before.tokens ? "same tokens" : "DIFFERENT TOKENS");
    return after.tokens == before.tokens ? 0 : 1;
  } catch (const serval::Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
