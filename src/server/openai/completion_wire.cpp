// Completions: the text goes into `text`, after the prompt when `echo` asks for it. With
// log-probabilities, an echoed prompt's tokens come before the generated ones; the first of them
// has none (null), for nothing stands before it. `text_offset` counts characters of `text`.
#include "base/utf8.h"
#include "server/openai/openai_wire.h"

namespace serval {
namespace {

namespace json = boost::json;

size_t count_characters(std::string_view text) {
  size_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xC0) != 0x80 ? 1 : 0;
  return count;
}

class CompletionWire final : public OpenAiWire {
 public:
  CompletionWire(const Engine& engine, WireOptions options, std::vector<std::string> echoes)
      : OpenAiWire(engine, std::move(options), "text_completion"), echoes_(std::move(echoes)) {}

  std::string opening_chunk(int index, const Choice& choice) override {
    const std::string& echo = echo_of(index);
    if (echo.empty() && choice.scores == nullptr) return {};
    json::object out = choice_json(index, echo, nullptr);
    if (choice.scores != nullptr) {
      Lists lists;
      add_prompt(index, choice, lists);
      out["logprobs"] = lists.json();
    }
    return chunk_of(std::move(out), nullptr);
  }

  std::string delta_chunk(int index, const TextDelta& delta, const Choice& so_far) override {
    const bool with_logprobs = options_.logprobs && !delta.logprobs.empty();
    if (delta.text.empty() && !with_logprobs) return {};
    json::object out = choice_json(index, delta.text, nullptr);
    if (with_logprobs) {
      Lists lists;
      add_generated(index, delta.logprobs, lists);
      out["logprobs"] = lists.json();
    }
    return chunk_of(std::move(out), &so_far);
  }

  std::string body(std::span<const Choice> choices, const Usage& usage) override {
    json::array list;
    for (const Choice& choice : choices) {
      const int index = static_cast<int>(list.size());
      json::object out =
          choice_json(index, echo_of(index) + choice.text, finish_reason_text(choice.reason));
      if (options_.logprobs) {
        Lists lists;
        add_prompt(index, choice, lists);
        add_generated(index, choice.logprobs, lists);
        out["logprobs"] = lists.json();
      }
      list.push_back(std::move(out));
    }
    return whole("text_completion", std::move(list), choices, usage);
  }

 private:
  // OpenAI's four parallel lists.
  struct Lists {
    json::array tokens, values, tops, offsets;

    json::object json() {
      return {{"tokens", std::move(tokens)},
              {"token_logprobs", std::move(values)},
              {"top_logprobs", std::move(tops)},
              {"text_offset", std::move(offsets)}};
    }
  };

  json::object empty_choice(int index) override { return choice_json(index, "", nullptr); }

  static json::object choice_json(int index, std::string_view text, const char* reason) {
    return {{"index", index},
            {"text", text},
            {"logprobs", nullptr},
            {"finish_reason", reason == nullptr ? json::value(nullptr) : json::value(reason)}};
  }

  const std::string& echo_of(int index) const {
    static const std::string none;
    const auto at = static_cast<size_t>(index);
    return at < echoes_.size() ? echoes_[at] : none;
  }

  // Where a choice's next token begins in its text.
  size_t& offset(int index) {
    const auto at = static_cast<size_t>(index);
    if (offsets_.size() <= at) offsets_.resize(at + 1);
    return offsets_[at];
  }

  // Returns how many characters the token has.
  size_t add(const TokenLogprob& entry, bool known, size_t at, Lists& lists) const {
    const std::string text = replace_invalid_utf8(bytes_of(entry.id));
    lists.tokens.emplace_back(text);
    lists.offsets.emplace_back(at);
    if (!known) {
      lists.values.emplace_back(nullptr);
      lists.tops.emplace_back(nullptr);
      return count_characters(text);
    }
    lists.values.emplace_back(entry.logprob);
    json::object top;
    for (const auto& [id, logprob] : entry.top) {
      if (top.size() == static_cast<size_t>(options_.top_logprobs)) break;
      top[replace_invalid_utf8(bytes_of(id))] = logprob;
    }
    lists.tops.push_back(std::move(top));
    return count_characters(text);
  }

  void add_prompt(int index, const Choice& choice, Lists& lists) {
    if (choice.scores == nullptr) return;
    const std::string& echo = echo_of(index);
    size_t& at = offset(index);
    bool first = true;
    for (const TokenLogprob& entry : choice.scores->entries()) {
      const size_t characters = add(entry, !first, at, lists);
      // A token put before the text (BOS) takes no place in it.
      const bool in_text = !first || echo.starts_with(bytes_of(entry.id));
      if (in_text) at += characters;
      first = false;
    }
    at = count_characters(echo);  // a family's own leading space is not in the text either
  }

  void add_generated(int index, const std::vector<TokenLogprob>& logprobs, Lists& lists) {
    size_t& at = offset(index);
    for (const TokenLogprob& entry : logprobs) at += add(entry, true, at, lists);
  }

  const std::vector<std::string> echoes_;
  std::vector<size_t> offsets_;
};

}  // namespace

std::unique_ptr<Wire> completion_wire(const Engine& engine, WireOptions options,
                                      std::vector<std::string> echoes) {
  return std::make_unique<CompletionWire>(engine, std::move(options), std::move(echoes));
}

}  // namespace serval
