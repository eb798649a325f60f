// GET /metrics
#include "server/metrics.h"

#include "server/routes/answer.h"
#include "server/routes/routes.h"

namespace serval {

void metrics(Service& service, const ExchangePtr& exchange) {
  HttpResponse response;
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  response.body = service.metrics().render(service.engine().stats(), service.connections(),
                                           service.config().model);
  answer(exchange, std::move(response));
}

}  // namespace serval
