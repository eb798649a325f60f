// POST /detokenize: the text of token ids.
#include <fmt/format.h>

#include "base/utf8.h"
#include "server/routes/answer.h"
#include "server/routes/routes.h"

namespace serval {

void detokenize(Service& service, const ExchangePtr& exchange) {
  const auto body = read_request(service, exchange, detokenize_fields());
  if (!body) return;
  const auto* list = find_field(*body, "tokens");
  if (list == nullptr) {
    answer_error(exchange, bad_field("tokens", "tokens is missing"));
    return;
  }
  std::vector<TokenId> tokens;
  if (const auto error = read_tokens(*list, "tokens", tokens)) {
    answer_error(exchange, *error);
    return;
  }
  const int vocab = service.engine().info().vocab_size;
  for (const TokenId id : tokens) {
    if (id < vocab) continue;
    answer_error(exchange,
                 bad_field("tokens", fmt::format("token {} is not in the vocabulary of {} tokens",
                                                 id, vocab)));
    return;
  }
  const std::string text = replace_invalid_utf8(service.engine().detokenize(tokens, true));
  answer_json(exchange, {{"content", text}, {"prompt", text}});
}

}  // namespace serval
