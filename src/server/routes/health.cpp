// GET /health, /livez, /readyz. Alive never depends on load; ready means: send me work.
#include "server/routes/answer.h"
#include "server/routes/routes.h"

namespace serval {
namespace {

void ready_or_not(const Service& service, const ExchangePtr& exchange) {
  if (service.draining()) {
    answer_error(exchange, overloaded("the server is shutting down"));
  } else {
    answer_json(exchange, {{"status", "ok"}});
  }
}

}  // namespace

void health(Service& service, const ExchangePtr& exchange) { ready_or_not(service, exchange); }

void livez(Service&, const ExchangePtr& exchange) { answer_json(exchange, {{"status", "ok"}}); }

void readyz(Service& service, const ExchangePtr& exchange) { ready_or_not(service, exchange); }

}  // namespace serval
