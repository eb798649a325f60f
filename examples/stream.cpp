// Print text as it is generated, and stop from the callback at the end of the second sentence.
//   stream MODEL.gguf
#include <cstdio>
#include <string_view>

#include "serval/engine.h"

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: stream MODEL.gguf\n");
    return 2;
  }
  serval::EngineConfig config;
  config.model = argv[1];
  config.context = 2048;
  auto engine = serval::Engine::load(config);
  if (!engine) {
    std::fprintf(stderr, "%s\n", engine.error().what());
    return 1;
  }

  serval::Request request;
  request.prompt = serval::TextPrompt{"The sea is full of life. It is"};
  request.max_tokens = 200;
  request.sampling.seed = 1;

  int sentences = 0;
  const auto on_text = [&](std::string_view piece) {
    std::fwrite(piece.data(), 1, piece.size(), stdout);
    std::fflush(stdout);
    for (const char c : piece) sentences += c == '.' ? 1 : 0;
    return sentences < 2;  // false stops the request
  };
  auto answer = serval::generate(**engine, request, on_text);
  if (!answer) {
    std::fprintf(stderr, "%s\n", answer.error().what());
    return 1;
  }
  std::printf("\n[%s after %d tokens, %.1f tokens per second]\n",
              serval::to_string(answer->finished.reason), answer->finished.usage.completion_tokens,
              answer->finished.timings.predicted_per_second);
}
