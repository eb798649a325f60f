// POST /v1/completions
#include <variant>

#include "server/infill.h"
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

// With a suffix the prompt becomes the text before a gap.
std::optional<ApiError> apply_suffix(Service& service, GenerateCall& call) {
  if (call.suffix.empty()) return std::nullopt;
  const Engine& engine = service.engine();
  const auto& marks = service.infill_tokens();
  if (!marks) return bad_field("suffix", "this model has no fill-in-the-middle tokens");
  for (Prompt& prompt : call.prompts) {
    const std::string prefix = text_of(engine, prompt);
    const InfillParts parts{.prefix = prefix, .suffix = call.suffix, .middle = {}, .extra = {}};
    prompt = infill_prompt(engine, *marks, parts, 0).tokens;
  }
  call.base.stop_tokens.insert(call.base.stop_tokens.end(), marks->ends.begin(), marks->ends.end());
  return std::nullopt;
}

}  // namespace

void completions(Service& service, const ExchangePtr& exchange) {
  const auto body = read_request(service, exchange, {});
  if (!body) return;
  GenerateCall call;
  auto error = decode_completion(*body, service.engine().info().sampling, call);
  const auto echoes = error ? std::vector<std::string>() : echoes_of(service.engine(), call);
  if (!error) error = apply_suffix(service, call);
  if (error) {
    answer_error(exchange, *error);
    return;
  }
  auto wire = completion_wire(service.engine(), wire_options(service, call, "cmpl"), echoes);
  start_generation(service, exchange, std::move(call), std::move(wire));
}

}  // namespace serval
