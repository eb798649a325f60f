// Several sequences in one batch: all prompts are computed and continued together.
//   batch MODEL.gguf
#include <cstdio>
#include <string>
#include <vector>

#include "serval/engine.h"

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: batch MODEL.gguf\n");
    return 2;
  }
  serval::EngineConfig config;
  config.model = argv[1];
  config.context = 512;
  config.kv_tokens = 4096;  // one pool that all sequences share
  auto engine = serval::Engine::load(config);
  if (!engine) {
    std::fprintf(stderr, "%s\n", engine.error().what());
    return 1;
  }

  const std::vector<std::string> prompts = {"Water boils at", "The first month of the year is",
                                            "Bees make", "A triangle has"};
  std::vector<serval::Request> requests;
  for (const std::string& prompt : prompts) {
    serval::Request request;
    request.prompt = serval::TextPrompt{prompt};
    request.max_tokens = 16;
    request.sampling.temperature = 0;
    requests.push_back(request);
  }
  const auto answers = serval::generate_all(**engine, requests);
  for (size_t i = 0; i < prompts.size(); ++i) {
    if (!answers[i]) {
      std::fprintf(stderr, "%s\n", answers[i].error().what());
      return 1;
    }
    std::printf("%s ...%s\n---\n", prompts[i].c_str(), answers[i]->text.c_str());
  }
  std::printf("%llu steps\n", static_cast<unsigned long long>((*engine)->stats().steps));
}
