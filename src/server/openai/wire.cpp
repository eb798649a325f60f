// Chunks of one stream share id, object, created and model; the text goes into `delta.content`
// (chat) or `text` (completion). A token's text for log-probabilities may be part of a character:
// it is shown with replacement characters, and `bytes` has what it really is.
#include "server/openai/wire.h"

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <utility>

#include "base/utf8.h"

namespace serval {
namespace {

namespace json = boost::json;

class OpenAiWire : public Wire {
 public:
  OpenAiWire(const Engine& engine, WireOptions options, const char* chunk_object)
      : engine_(engine), options_(std::move(options)), chunk_object_(chunk_object) {}

  std::string closing_chunk(int choice, const Finished& finished) override {
    json::object last = last_choice(choice);
    last["finish_reason"] = finish_reason_text(finished.reason);
    json::object chunk = envelope(chunk_object_);
    chunk["choices"] = json::array{std::move(last)};
    if (options_.include_usage) chunk["usage"] = nullptr;
    chunk["timings"] = timings_json(finished.usage, finished.timings);
    add_warnings(chunk);
    return json::serialize(chunk);
  }

  std::string usage_chunk(const Usage& usage) override {
    if (!options_.include_usage) return {};
    json::object chunk = envelope(chunk_object_);
    chunk["choices"] = json::array{};
    chunk["usage"] = usage_json(usage);
    return json::serialize(chunk);
  }

 protected:
  virtual json::object last_choice(int choice) = 0;

  json::object envelope(const char* object) const {
    return json::object{{"id", options_.id},
                        {"object", object},
                        {"created", options_.created},
                        {"model", options_.model},
                        {"system_fingerprint", options_.fingerprint}};
  }

  std::string chunk_of(json::object choice) const {
    json::object chunk = envelope(chunk_object_);
    chunk["choices"] = json::array{std::move(choice)};
    if (options_.include_usage) chunk["usage"] = nullptr;
    return json::serialize(chunk);
  }

  std::string whole(const char* object, json::array choices, const Usage& usage,
                    const std::optional<Timings>& timings) const {
    json::object out = envelope(object);
    out["choices"] = std::move(choices);
    out["usage"] = usage_json(usage);
    if (timings) out["timings"] = timings_json(usage, *timings);
    add_warnings(out);
    return json::serialize(out);
  }

  void add_warnings(json::object& out) const {
    if (options_.warnings.empty()) return;
    json::array list;
    for (const std::string& warning : options_.warnings) list.emplace_back(warning);
    out["warnings"] = std::move(list);
  }

  std::string bytes_of(TokenId id) const { return token_bytes(engine_, id); }

  const Engine& engine_;
  const WireOptions options_;

 private:
  const char* chunk_object_;
};

json::array byte_values(const std::string& bytes) {
  json::array out;
  for (const char c : bytes) out.emplace_back(static_cast<unsigned>(static_cast<unsigned char>(c)));
  return out;
}

class ChatWire final : public OpenAiWire {
 public:
  ChatWire(const Engine& engine, WireOptions options)
      : OpenAiWire(engine, std::move(options), "chat.completion.chunk") {}

  std::string opening_chunk(int choice) override {
    return chunk_of({{"index", choice},
                     {"delta", json::object{{"role", "assistant"}, {"content", ""}}},
                     {"logprobs", nullptr},
                     {"finish_reason", nullptr}});
  }

  std::string delta_chunk(int choice, const TextDelta& delta) override {
    const bool with_logprobs = options_.logprobs && !delta.logprobs.empty();
    if (delta.text.empty() && !with_logprobs) return {};
    json::object out{{"index", choice},
                     {"delta", json::object{{"content", delta.text}}},
                     {"logprobs", nullptr},
                     {"finish_reason", nullptr}};
    if (with_logprobs) out["logprobs"] = logprobs_json(delta.logprobs);
    return chunk_of(std::move(out));
  }

  std::string body(std::span<const Choice> choices, const Usage& usage,
                   const std::optional<Timings>& timings) override {
    json::array list;
    for (const Choice& choice : choices) {
      json::object message{{"role", "assistant"}, {"content", choice.text}, {"refusal", nullptr}};
      json::object out{{"index", list.size()},
                       {"message", std::move(message)},
                       {"logprobs", nullptr},
                       {"finish_reason", finish_reason_text(choice.reason)}};
      if (options_.logprobs) out["logprobs"] = logprobs_json(choice.logprobs);
      list.push_back(std::move(out));
    }
    return whole("chat.completion", std::move(list), usage, timings);
  }

 private:
  json::object last_choice(int choice) override {
    return {{"index", choice}, {"delta", json::object{}}, {"logprobs", nullptr}};
  }

  json::object token_json(TokenId id, float logprob) const {
    const std::string bytes = bytes_of(id);
    return {{"token", replace_invalid_utf8(bytes)},
            {"logprob", logprob},
            {"bytes", byte_values(bytes)}};
  }

  json::object logprobs_json(const std::vector<TokenLogprob>& logprobs) const {
    json::array content;
    for (const TokenLogprob& entry : logprobs) {
      json::object token = token_json(entry.id, entry.logprob);
      json::array top;
      for (const auto& [id, logprob] : entry.top) {
        if (top.size() == static_cast<size_t>(options_.top_logprobs)) break;
        top.push_back(token_json(id, logprob));
      }
      token["top_logprobs"] = std::move(top);
      content.push_back(std::move(token));
    }
    return {{"content", std::move(content)}, {"refusal", nullptr}};
  }
};

class CompletionWire final : public OpenAiWire {
 public:
  CompletionWire(const Engine& engine, WireOptions options, std::vector<std::string> echoes)
      : OpenAiWire(engine, std::move(options), "text_completion"), echoes_(std::move(echoes)) {}

  std::string opening_chunk(int choice) override {
    const std::string& echo = echo_of(choice);
    return echo.empty() ? std::string() : chunk_of(choice_json(choice, echo, nullptr));
  }

  std::string delta_chunk(int choice, const TextDelta& delta) override {
    const bool with_logprobs = options_.logprobs && !delta.logprobs.empty();
    if (delta.text.empty() && !with_logprobs) return {};
    json::object out = choice_json(choice, delta.text, nullptr);
    if (with_logprobs) {
      out["logprobs"] = logprobs_json(delta.logprobs, offset(choice));
    }
    return chunk_of(std::move(out));
  }

  std::string body(std::span<const Choice> choices, const Usage& usage,
                   const std::optional<Timings>& timings) override {
    json::array list;
    for (const Choice& choice : choices) {
      const int index = static_cast<int>(list.size());
      json::object out =
          choice_json(index, echo_of(index) + choice.text, finish_reason_text(choice.reason));
      if (options_.logprobs) out["logprobs"] = logprobs_json(choice.logprobs, offset(index));
      list.push_back(std::move(out));
    }
    return whole("text_completion", std::move(list), usage, timings);
  }

 private:
  json::object last_choice(int choice) override { return choice_json(choice, "", nullptr); }

  static json::object choice_json(int index, std::string_view text, const char* reason) {
    return {{"index", index},
            {"text", text},
            {"logprobs", nullptr},
            {"finish_reason", reason == nullptr ? json::value(nullptr) : json::value(reason)}};
  }

  const std::string& echo_of(int choice) const {
    static const std::string none;
    const auto index = static_cast<size_t>(choice);
    return index < echoes_.size() ? echoes_[index] : none;
  }

  // Where a choice's next token begins in its text, in characters.
  size_t& offset(int choice) {
    const auto index = static_cast<size_t>(choice);
    if (offsets_.size() <= index) offsets_.resize(index + 1);
    return offsets_[index];
  }

  json::object logprobs_json(const std::vector<TokenLogprob>& logprobs, size_t& at) const {
    json::array tokens, values, tops, offsets;
    for (const TokenLogprob& entry : logprobs) {
      const std::string text = replace_invalid_utf8(bytes_of(entry.id));
      tokens.emplace_back(text);
      values.emplace_back(entry.logprob);
      offsets.emplace_back(at);
      for (const char c : text) at += (static_cast<unsigned char>(c) & 0xC0) != 0x80 ? 1 : 0;
      json::object top;
      for (const auto& [id, logprob] : entry.top) {
        if (top.size() == static_cast<size_t>(options_.top_logprobs)) break;
        top[replace_invalid_utf8(bytes_of(id))] = logprob;
      }
      tops.push_back(std::move(top));
    }
    return {{"tokens", std::move(tokens)},
            {"token_logprobs", std::move(values)},
            {"top_logprobs", std::move(tops)},
            {"text_offset", std::move(offsets)}};
  }

  const std::vector<std::string> echoes_;
  std::vector<size_t> offsets_;
};

}  // namespace

std::unique_ptr<Wire> chat_wire(const Engine& engine, WireOptions options) {
  return std::make_unique<ChatWire>(engine, std::move(options));
}

std::unique_ptr<Wire> completion_wire(const Engine& engine, WireOptions options,
                                      std::vector<std::string> echoes) {
  return std::make_unique<CompletionWire>(engine, std::move(options), std::move(echoes));
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

const char* finish_reason_text(FinishReason reason) {
  return reason == FinishReason::kStop ? "stop" : "length";
}

}  // namespace serval
