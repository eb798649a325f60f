// Plug-ins from outside the library: a logits processor that forbids a letter, and a sampler that
// makes the final choice itself.
//   custom_sampler MODEL.gguf
#include <cmath>
#include <cstdio>
#include <memory>

#include "serval/engine.h"

// No token whose text holds an "e" may be chosen.
class Lipogram : public serval::LogitsProcessor {
 public:
  explicit Lipogram(const serval::Engine& engine) {
    for (serval::TokenId id = 0; id < engine.info().vocab_size; ++id) {
      if (engine.detokenize({id}, true).find_first_of("eE") != std::string::npos) {
        forbidden_.push_back(id);
      }
    }
  }
  void process(const serval::SamplingContext&, float* logits, size_t) override {
    for (const serval::TokenId id : forbidden_) logits[id] = -INFINITY;
  }

 private:
  std::vector<serval::TokenId> forbidden_;
};

// Takes the best and the second best candidate by turns.
class Alternate : public serval::Sampler {
 public:
  serval::TokenId sample(const serval::SamplingContext& context,
                         const std::vector<serval::Candidate>& candidates) override {
    const size_t rank = context.position % 4 == 0 && candidates.size() > 1 ? 1 : 0;
    return candidates[rank].id;
  }
};

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: custom_sampler MODEL.gguf\n");
    return 2;
  }
  serval::EngineConfig config;
  config.model = argv[1];
  config.context = 512;
  auto engine = serval::Engine::load(config);
  if (!engine) {
    std::fprintf(stderr, "%s\n", engine.error().what());
    return 1;
  }
  serval::Request request;
  request.prompt = serval::TextPrompt{"A dog is"};
  request.max_tokens = 24;
  request.sampling.logits_processor = std::make_shared<Lipogram>(**engine);
  request.sampling.sampler = std::make_shared<Alternate>();
  auto answer = serval::generate(**engine, request);
  if (!answer) {
    std::fprintf(stderr, "%s\n", answer.error().what());
    return 1;
  }
  std::printf("A dog is%s\n", answer->text.c_str());
  return answer->text.find('e') == std::string::npos ? 0 : 1;
}
