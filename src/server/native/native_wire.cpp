// Chunks carry `content` and `stop`: false; the last one says `stop`: true and how it all went.
// There is no [DONE]: llama-server's native streams end with the last object. Several prompts give
// a list of replies, or chunks told apart by `index`.
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include "base/utf8.h"
#include "sampling/processors.h"
#include "server/native/native.h"

namespace serval {
namespace {

namespace json = boost::json;

json::array token_list(const std::vector<TokenId>& tokens) {
  json::array out;
  for (const TokenId id : tokens) out.emplace_back(id);
  return out;
}

const char* stop_type(const Choice& choice) {
  if (choice.reason != FinishReason::kStop) return "limit";
  return choice.stop_text.empty() ? "eos" : "word";
}

class NativeWire final : public Wire {
 public:
  NativeWire(const Engine& engine, WireOptions options, std::vector<std::string> prompts,
             json::object settings)
      : engine_(engine),
        options_(std::move(options)),
        prompts_(std::move(prompts)),
        settings_(std::move(settings)),
        new_lines_(prompts_.size()) {}

  std::string opening_chunk(int, const Choice&) override { return {}; }

  std::string progress_chunk(int index, const Progress& progress) override {
    json::object chunk = partial(index, "", {});
    chunk["tokens_predicted"] = 0;
    chunk["tokens_evaluated"] = progress.prompt_tokens;
    chunk["prompt_progress"] = progress_json(progress);
    return json::serialize(chunk);
  }

  std::string delta_chunk(int index, const TextDelta& delta, const Choice& so_far) override {
    const bool with_logprobs = options_.logprobs && !delta.logprobs.empty();
    if (delta.text.empty() && !with_logprobs && !options_.return_tokens) return {};
    if (delta.text.find('\n') != std::string::npos) new_lines_[static_cast<size_t>(index)] = true;
    json::object chunk = partial(index, delta.text, delta.tokens);
    chunk["tokens_predicted"] = so_far.usage.completion_tokens;
    chunk["tokens_evaluated"] = so_far.usage.prompt_tokens;
    if (with_logprobs) chunk["completion_probabilities"] = probabilities(delta.logprobs);
    if (options_.timings_per_token) {
      chunk["timings"] = timings_json(so_far.usage, so_far.timings);
    }
    return json::serialize(chunk);
  }

  std::string closing_chunk(int index, const Choice& choice) override {
    return json::serialize(last(index, choice));
  }

  std::string usage_chunk(const Usage&) override { return {}; }
  std::string_view end_of_stream() const override { return {}; }

  std::string body(std::span<const Choice> choices, const Usage&) override {
    json::array list;
    for (const Choice& choice : choices) {
      const int index = static_cast<int>(list.size());
      json::object out = last(index, choice);
      out["content"] = choice.text;
      out["tokens"] = options_.return_tokens ? token_list(choice.tokens) : json::array();
      out["has_new_line"] = choice.text.find('\n') != std::string::npos;
      if (options_.logprobs) out["completion_probabilities"] = probabilities(choice.logprobs);
      list.push_back(std::move(out));
    }
    return list.size() == 1 ? json::serialize(list.front()) : json::serialize(list);
  }

 private:
  json::object partial(int index, const std::string& text, const std::vector<TokenId>& tokens) {
    return {{"index", index},
            {"content", text},
            {"tokens", options_.return_tokens ? token_list(tokens) : json::array()},
            {"stop", false},
            {"id_slot", -1}};
  }

  json::object last(int index, const Choice& choice) {
    const Usage& usage = choice.usage;
    json::object settings = settings_;
    settings["seed"] = choice.seed;
    json::object out{{"index", index},
                     {"content", ""},
                     {"tokens", json::array()},
                     {"id_slot", -1},
                     {"stop", true},
                     {"model", options_.model},
                     {"tokens_predicted", usage.completion_tokens},
                     {"tokens_evaluated", usage.prompt_tokens},
                     {"generation_settings", std::move(settings)},
                     {"prompt", prompts_[static_cast<size_t>(index)]},
                     {"has_new_line", bool{new_lines_[static_cast<size_t>(index)]}},
                     {"truncated", false},
                     {"stop_type", stop_type(choice)},
                     {"stopping_word", choice.stop_text},
                     {"tokens_cached", usage.prompt_tokens + usage.completion_tokens},
                     {"timings", timings_json(usage, choice.timings)}};
    if (options_.warnings.empty()) return out;
    json::array warnings;
    for (const std::string& warning : options_.warnings) warnings.emplace_back(warning);
    out["warnings"] = std::move(warnings);
    return out;
  }

  json::object token_json(TokenId id, float logprob) const {
    const std::string bytes = token_bytes(engine_, id);
    return {{"id", id},
            {"token", replace_invalid_utf8(bytes)},
            {"bytes", byte_values(bytes)},
            {"logprob", logprob}};
  }

  json::array probabilities(const std::vector<TokenLogprob>& logprobs) const {
    json::array list;
    for (const TokenLogprob& entry : logprobs) {
      json::object token = token_json(entry.id, entry.logprob);
      json::array top;
      for (const auto& [id, logprob] : entry.top) top.push_back(token_json(id, logprob));
      token["top_logprobs"] = std::move(top);
      list.push_back(std::move(token));
    }
    return list;
  }

  const Engine& engine_;
  const WireOptions options_;
  const std::vector<std::string> prompts_;
  const json::object settings_;
  std::vector<bool> new_lines_;  // was one sent?
};

}  // namespace

std::unique_ptr<Wire> native_wire(const Engine& engine, WireOptions options,
                                  std::vector<std::string> prompts, json::object settings) {
  return std::make_unique<NativeWire>(engine, std::move(options), std::move(prompts),
                                      std::move(settings));
}

json::object sampling_json(const SamplingParams& params) {
  json::object out;
  const auto add = [&](const Parameter& p) {
    const double value = p.get(params);
    out[p.name] = p.integer ? json::value(static_cast<int64_t>(value)) : json::value(value);
  };
  for (const Processor& processor : processors()) {
    for (const Parameter& parameter : processor.parameters) add(parameter);
  }
  for (const Parameter& parameter : general_parameters()) add(parameter);
  json::array order;
  if (params.samplers.empty()) {
    for (const std::string_view name : default_chain()) order.emplace_back(name);
  } else {
    for (const std::string& name : params.samplers) order.emplace_back(name);
  }
  out["samplers"] = std::move(order);
  json::array breakers;
  for (const std::string& text : params.dry_sequence_breakers) breakers.emplace_back(text);
  out["dry_sequence_breakers"] = std::move(breakers);
  return out;
}

json::object generation_settings(const GenerateCall& call, int context) {
  json::object out = sampling_json(call.base.sampling);
  json::array stops;
  for (const std::string& stop : call.base.stop) stops.emplace_back(stop);
  out["n_ctx"] = context;
  out["n_predict"] = call.base.max_tokens.value_or(-1);
  out["max_tokens"] = call.base.max_tokens.value_or(-1);
  out["n_probs"] = call.top_logprobs;
  out["stop"] = std::move(stops);
  out["stream"] = call.stream;
  out["ignore_eos"] = call.base.ignore_eos;
  out["timings_per_token"] = call.timings_per_token;
  return out;
}

}  // namespace serval
