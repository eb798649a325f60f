// POST /apply-template: a chat as the text the model would see.
#include "server/openai/decode.h"
#include "server/routes/answer.h"
#include "server/routes/routes.h"

namespace serval {

void apply_template(Service& service, const ExchangePtr& exchange) {
  const auto body = read_request(service, exchange, chat_fields());
  if (!body) return;
  ChatPrompt chat;
  if (const auto error = decode_messages(*body, chat)) {
    answer_error(exchange, *error);
    return;
  }
  const auto text = service.engine().render(chat);
  if (!text) {
    answer_error(exchange, from_engine(text.error()));
    return;
  }
  answer_json(exchange, {{"prompt", *text}});
}

}  // namespace serval
