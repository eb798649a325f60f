// POST /v1/completions
#include <variant>

#include "server/routes/answer.h"
#include "server/routes/generation.h"
#include "server/routes/routes.h"

namespace serval {
namespace {

std::string text_of(const Engine& engine, const Prompt& prompt) {
  if (const auto* text = std::get_if<TextPrompt>(&prompt)) return text->text;
  return engine.detokenize(std::get<std::vector<TokenId>>(prompt), true);
}

std::vector<std::string> echoes_of(const Engine& engine, const GenerateCall& call) {
  std::vector<std::string> echoes;
  if (!call.echo) return echoes;
  for (const Prompt& prompt : call.prompts) {
    echoes.insert(echoes.end(), static_cast<size_t>(call.n), text_of(engine, prompt));
  }
  return echoes;
}

}  // namespace

void completions(Service& service, const ExchangePtr& exchange) {
  const auto body = read_request(service, exchange, {});
  if (!body) return;
  GenerateCall call;
  if (const auto error = decode_completion(*body, service.engine().info().sampling, call)) {
    answer_error(exchange, *error);
    return;
  }
  auto wire = completion_wire(service.engine(), wire_options(service, call, "cmpl"),
                              echoes_of(service.engine(), call));
  start_generation(service, exchange, std::move(call), std::move(wire));
}

}  // namespace serval
