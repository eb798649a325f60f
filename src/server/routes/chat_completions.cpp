// POST /v1/chat/completions
#include "server/routes/answer.h"
#include "server/routes/generation.h"
#include "server/routes/routes.h"

namespace serval {

void chat_completions(Service& service, const ExchangePtr& exchange) {
  const auto body = read_request(service, exchange, {});
  if (!body) return;
  GenerateCall call;
  if (const auto error = decode_chat(*body, service.engine().info().sampling, call)) {
    answer_error(exchange, *error);
    return;
  }
  auto wire = chat_wire(service.engine(), wire_options(service, call, "chatcmpl"));
  start_generation(service, exchange, std::move(call), std::move(wire));
}

}  // namespace serval
