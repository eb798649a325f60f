// POST /tokenize: the ids of a text (`content`) or of a chat (`messages`).
#include <boost/json/array.hpp>

#include "base/utf8.h"
#include "server/openai/decode.h"
#include "server/openai/wire.h"
#include "server/routes/answer.h"
#include "server/routes/routes.h"

namespace serval {
namespace {

namespace json = boost::json;

// A token may be part of a character: then its bytes are shown as numbers, as llama-server does.
json::value piece_json(const std::string& bytes) {
  if (is_valid_utf8(bytes)) return json::value(bytes);
  json::array out;
  for (const char c : bytes) out.emplace_back(static_cast<unsigned>(static_cast<unsigned char>(c)));
  return out;
}

std::optional<ApiError> prompt_of(const json::object& body, Prompt& prompt) {
  if (find_field(body, "messages")) {
    ChatPrompt chat;
    if (auto error = decode_messages(body, chat)) return error;
    prompt = std::move(chat);
    return std::nullopt;
  }
  const char* name = find_field(body, "content") ? "content" : "prompt";
  if (!find_field(body, name)) {
    return bad_field("content", "content is missing: send content, prompt or messages");
  }
  prompt = TextPrompt{string_field(body, name), bool_field(body, "parse_special", true),
                      bool_field(body, "add_special", false)};
  return std::nullopt;
}

}  // namespace

void tokenize(Service& service, const ExchangePtr& exchange) {
  const auto body = read_request(service, exchange, tokenize_fields());
  if (!body) return;
  Prompt prompt;
  if (const auto error = prompt_of(*body, prompt)) {
    answer_error(exchange, *error);
    return;
  }
  const auto tokens = service.engine().tokenize(prompt);
  if (!tokens) {
    answer_error(exchange, from_engine(tokens.error()));
    return;
  }
  const bool with_pieces = bool_field(*body, "with_pieces", false);
  json::array list;
  list.reserve(tokens.value().size());
  for (const TokenId id : *tokens) {
    if (!with_pieces) {
      list.emplace_back(id);
      continue;
    }
    list.push_back(
        json::object{{"id", id}, {"piece", piece_json(token_bytes(service.engine(), id))}});
  }
  answer_json(exchange, {{"tokens", std::move(list)},
                         {"count", tokens.value().size()},
                         {"max_model_len", service.engine().info().context}});
}

}  // namespace serval
