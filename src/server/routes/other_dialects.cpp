// POST /v1/responses (OpenAI) and /v1/messages (Anthropic): refused by name, so that a client's
// author reads why, instead of a 404 that looks like a wrong address.
#include <fmt/format.h>

#include "server/routes/answer.h"
#include "server/routes/routes.h"

namespace serval {

void other_dialect(Service&, const ExchangePtr& exchange) {
  answer_error(exchange,
               not_supported(fmt::format("this server does not speak {}; use /v1/chat/completions",
                                         exchange->request().path)));
}

}  // namespace serval
