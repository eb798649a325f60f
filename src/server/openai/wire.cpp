// Chunks of one stream share id, object, created and model. Timings stand in the last chunk of a
// choice; with several choices in one reply there is no single set of them, so none is shown.
#include "server/openai/wire.h"

#include <boost/json/serialize.hpp>

#include "base/utf8.h"
#include "server/http/sse.h"
#include "server/openai/openai_wire.h"

namespace serval {

namespace json = boost::json;

std::string OpenAiWire::progress_chunk(int index, const Progress& progress) {
  json::object choice = empty_choice(index);
  choice["finish_reason"] = nullptr;
  json::object chunk = envelope(chunk_object_);
  chunk["choices"] = json::array{std::move(choice)};
  chunk["prompt_progress"] = progress_json(progress);
  if (options_.include_usage) chunk["usage"] = nullptr;
  return json::serialize(chunk);
}

std::string OpenAiWire::closing_chunk(int index, const Choice& choice) {
  json::object last = empty_choice(index);
  last["finish_reason"] = finish_reason_text(choice.reason);
  json::object chunk = envelope(chunk_object_);
  chunk["choices"] = json::array{std::move(last)};
  if (options_.include_usage) chunk["usage"] = nullptr;
  chunk["timings"] = timings_json(choice.usage, choice.timings);
  add_warnings(chunk);
  return json::serialize(chunk);
}

std::string OpenAiWire::usage_chunk(const Usage& usage) {
  if (!options_.include_usage) return {};
  json::object chunk = envelope(chunk_object_);
  chunk["choices"] = json::array{};
  chunk["usage"] = usage_json(usage);
  return json::serialize(chunk);
}

std::string_view OpenAiWire::end_of_stream() const { return kSseDone; }

json::object OpenAiWire::envelope(const char* object) const {
  return json::object{{"id", options_.id},
                      {"object", object},
                      {"created", options_.created},
                      {"model", options_.model},
                      {"system_fingerprint", options_.fingerprint}};
}

std::string OpenAiWire::chunk_of(json::object choice, const Choice* so_far) const {
  json::object chunk = envelope(chunk_object_);
  chunk["choices"] = json::array{std::move(choice)};
  if (options_.include_usage) chunk["usage"] = nullptr;
  if (options_.timings_per_token && so_far != nullptr) {
    chunk["timings"] = timings_json(so_far->usage, so_far->timings);
  }
  return json::serialize(chunk);
}

std::string OpenAiWire::whole(const char* object, json::array list, std::span<const Choice> choices,
                              const Usage& usage) const {
  json::object out = envelope(object);
  out["choices"] = std::move(list);
  out["usage"] = usage_json(usage);
  if (choices.size() == 1) out["timings"] = timings_json(usage, choices.front().timings);
  add_warnings(out);
  return json::serialize(out);
}

void OpenAiWire::add_warnings(json::object& out) const {
  if (options_.warnings.empty()) return;
  json::array list;
  for (const std::string& warning : options_.warnings) list.emplace_back(warning);
  out["warnings"] = std::move(list);
}

// Some families drop the space that begins a text: the second of two shows a token as it is.
std::string token_bytes(const Engine& engine, TokenId id) {
  return engine.detokenize({id, id}, true).substr(engine.detokenize({id}, true).size());
}

json::object usage_json(const Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
          {"prompt_tokens_details", json::object{{"cached_tokens", usage.cached_tokens}}}};
}

json::object timings_json(const Usage& usage, const Timings& timings) {
  const int computed = usage.prompt_tokens - usage.cached_tokens;
  const auto per_token = [](double ms, int tokens) { return tokens > 0 ? ms / tokens : 0.0; };
  return {{"cache_n", usage.cached_tokens},
          {"prompt_n", computed},
          {"prompt_ms", timings.prompt_ms},
          {"prompt_per_token_ms", per_token(timings.prompt_ms, computed)},
          {"prompt_per_second", timings.prompt_per_second},
          {"predicted_n", usage.completion_tokens},
          {"predicted_ms", timings.predicted_ms},
          {"predicted_per_token_ms", per_token(timings.predicted_ms, usage.completion_tokens)},
          {"predicted_per_second", timings.predicted_per_second},
          {"queue_ms", timings.queue_ms}};
}

json::object progress_json(const Progress& progress) {
  return {{"total", progress.prompt_tokens},
          {"cache", progress.cached_tokens},
          {"processed", progress.computed},
          {"time_ms", static_cast<int64_t>(progress.elapsed_ms)}};
}

json::array byte_values(const std::string& bytes) {
  json::array out;
  for (const char c : bytes) out.emplace_back(static_cast<unsigned>(static_cast<unsigned char>(c)));
  return out;
}

const char* finish_reason_text(FinishReason reason) {
  return reason == FinishReason::kStop ? "stop" : "length";
}

}  // namespace serval
