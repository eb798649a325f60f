// POST /v1/embeddings: refused until the engine can pool hidden states.
#include "server/routes/answer.h"
#include "server/routes/routes.h"

namespace serval {

void embeddings(Service&, const ExchangePtr& exchange) {
  answer_error(exchange, not_supported("this server does not compute embeddings"));
}

}  // namespace serval
