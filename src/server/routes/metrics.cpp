// GET /metrics
#include "server/metrics.h"

#include "server/routes/answer.h"
#include "server/routes/routes.h"

namespace serval {
namespace {

constexpr size_t kRecentSteps = 64;

}  // namespace

void metrics(Service& service, const ExchangePtr& exchange) {
  HttpResponse response;
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  const Engine& engine = service.engine();
  const RecentSteps recent =
      measure(engine.last_steps(kRecentSteps), service.config().read_bandwidth);
  response.body = service.metrics().render(engine.stats(), engine.work(), recent,
                                           service.connections(), service.config().model);
  answer(exchange, std::move(response));
}

}  // namespace serval
