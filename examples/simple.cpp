// Load a model, ask one question, print the answer.
//   simple MODEL.gguf [QUESTION]
#include <cstdio>

#include "serval/engine.h"

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: simple MODEL.gguf [QUESTION]\n");
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

  const char* question = argc > 2 ? argv[2] : "What is the capital of France?";
  serval::Request request;
  if ((*engine)->info().chat_template.empty()) {
    request.prompt = serval::TextPrompt{question};
  } else {
    serval::ChatPrompt chat;
    chat.messages.resize(1);
    chat.messages[0].role = "user";
    chat.messages[0].content = question;
    request.prompt = chat;
  }
  request.max_tokens = 64;
  request.sampling.temperature = 0;

  auto answer = serval::generate(**engine, request);
  if (!answer) {
    std::fprintf(stderr, "%s\n", answer.error().what());
    return 1;
  }
  std::printf("%s\n", answer->text.c_str());
}
