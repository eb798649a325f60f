// Chats: the text goes into `delta.content` and `message.content`. A token's text among the
// log-probabilities may be part of a character: it is shown with replacement characters, and
// `bytes` has what it really is.
#include "base/utf8.h"
#include "server/openai/openai_wire.h"

namespace serval {
namespace {

namespace json = boost::json;

class ChatWire final : public OpenAiWire {
 public:
  ChatWire(const Engine& engine, WireOptions options)
      : OpenAiWire(engine, std::move(options), "chat.completion.chunk") {}

  std::string opening_chunk(int index, const Choice&) override {
    return chunk_of({{"index", index},
                     {"delta", json::object{{"role", "assistant"}, {"content", ""}}},
                     {"logprobs", nullptr},
                     {"finish_reason", nullptr}},
                    nullptr);
  }

  std::string delta_chunk(int index, const TextDelta& delta, const Choice& so_far) override {
    const bool with_logprobs = options_.logprobs && !delta.logprobs.empty();
    if (delta.text.empty() && !with_logprobs) return {};
    json::object out{{"index", index},
                     {"delta", json::object{{"content", delta.text}}},
                     {"logprobs", nullptr},
                     {"finish_reason", nullptr}};
    if (with_logprobs) out["logprobs"] = logprobs_json(delta.logprobs);
    return chunk_of(std::move(out), &so_far);
  }

  std::string body(std::span<const Choice> choices, const Usage& usage) override {
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
    return whole("chat.completion", std::move(list), choices, usage);
  }

 private:
  json::object empty_choice(int index) override {
    return {{"index", index}, {"delta", json::object{}}, {"logprobs", nullptr}};
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

}  // namespace

std::unique_ptr<Wire> chat_wire(const Engine& engine, WireOptions options) {
  return std::make_unique<ChatWire>(engine, std::move(options));
}

}  // namespace serval
