// POST /completion and /completions: llama-server's own dialect. POST /infill: the same for a gap
// in a file.
#include "base/utf8.h"
#include "server/infill.h"
#include "server/native/native.h"
#include "server/routes/answer.h"
#include "server/routes/generation.h"
#include "server/routes/routes.h"

namespace serval {
namespace {

// The reply shows the prompt as text, so what was tokenised is turned back.
std::vector<std::string> texts_of(const Engine& engine, const std::vector<Prompt>& prompts) {
  std::vector<std::string> texts;
  for (const Prompt& prompt : prompts) {
    if (const auto* text = std::get_if<TextPrompt>(&prompt)) {
      texts.push_back(replace_invalid_utf8(text->text));
    } else {
      const auto& tokens = std::get<std::vector<TokenId>>(prompt);
      texts.push_back(replace_invalid_utf8(engine.detokenize(tokens, true)));
    }
  }
  return texts;
}

void answer_natively(Service& service, const ExchangePtr& exchange, GenerateCall call) {
  const Engine& engine = service.engine();
  auto wire =
      native_wire(engine, wire_options(service, call, "cmpl"), texts_of(engine, call.prompts),
                  generation_settings(call, engine.info().context));
  start_generation(service, exchange, std::move(call), std::move(wire));
}

std::optional<ApiError> fill_in(Service& service, const boost::json::object& body,
                                GenerateCall& call) {
  const Engine& engine = service.engine();
  const auto& marks = service.infill_tokens();
  if (!marks) {
    return bad_field("input_prefix", "this model has no fill-in-the-middle tokens");
  }
  std::vector<std::pair<std::string, std::string>> extra;
  if (auto error = decode_extra_files(body, extra)) return error;
  const std::string prefix = string_field(body, "input_prefix");
  const std::string suffix = string_field(body, "input_suffix");
  const std::string middle = string_field(body, "prompt");
  const auto context = static_cast<size_t>(engine.info().context);
  const auto answer = static_cast<size_t>(call.base.max_tokens.value_or(1));
  const size_t room = context > answer ? context - answer : 0;
  InfillPrompt prompt =
      infill_prompt(engine, *marks, {prefix, suffix, middle, std::move(extra)}, room);
  if (prompt.dropped > 0) {
    call.warnings.push_back("input_extra: the context is too short, so the first " +
                            std::to_string(prompt.dropped) + " were left out");
  }
  call.prompts.emplace_back(std::move(prompt.tokens));
  call.base.stop_tokens.insert(call.base.stop_tokens.end(), marks->ends.begin(), marks->ends.end());
  return std::nullopt;
}

}  // namespace

void native_completion(Service& service, const ExchangePtr& exchange) {
  const auto body = read_request(service, exchange, {});
  if (!body) return;
  GenerateCall call;
  const SamplingParams& defaults = service.engine().info().sampling;
  auto error = decode_native(*body, native_completion_fields(), defaults, call);
  if (!error) error = decode_native_prompts(service.engine(), *body, call.prompts);
  if (error) {
    answer_error(exchange, *error);
  } else {
    answer_natively(service, exchange, std::move(call));
  }
}

void infill(Service& service, const ExchangePtr& exchange) {
  const auto body = read_request(service, exchange, {});
  if (!body) return;
  GenerateCall call;
  const SamplingParams& defaults = service.engine().info().sampling;
  auto error = decode_native(*body, infill_fields(), defaults, call);
  if (!error) error = fill_in(service, *body, call);
  if (error) {
    answer_error(exchange, *error);
  } else {
    answer_natively(service, exchange, std::move(call));
  }
}

}  // namespace serval
