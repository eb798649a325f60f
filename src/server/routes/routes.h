// The endpoints, one file each. All follow the signature of RouteFunction (router.h).
#pragma once

#include "server/http/exchange.h"
#include "server/service.h"

namespace serval {

void chat_completions(Service& service, const ExchangePtr& exchange);
void completions(Service& service, const ExchangePtr& exchange);
void native_completion(Service& service, const ExchangePtr& exchange);
void infill(Service& service, const ExchangePtr& exchange);
void embeddings(Service& service, const ExchangePtr& exchange);
void tokenize(Service& service, const ExchangePtr& exchange);
void detokenize(Service& service, const ExchangePtr& exchange);
void apply_template(Service& service, const ExchangePtr& exchange);
void list_models(Service& service, const ExchangePtr& exchange);
void show_model(Service& service, const ExchangePtr& exchange);
void health(Service& service, const ExchangePtr& exchange);
void livez(Service& service, const ExchangePtr& exchange);
void readyz(Service& service, const ExchangePtr& exchange);
void list_snapshots(Service& service, const ExchangePtr& exchange);
void create_snapshot(Service& service, const ExchangePtr& exchange);
void read_snapshot(Service& service, const ExchangePtr& exchange);
void act_on_snapshot(Service& service, const ExchangePtr& exchange);
void import_snapshot(Service& service, const ExchangePtr& exchange);
void delete_snapshot(Service& service, const ExchangePtr& exchange);
void metrics(Service& service, const ExchangePtr& exchange);
void props(Service& service, const ExchangePtr& exchange);
void trace(Service& service, const ExchangePtr& exchange);
void monitor(Service& service, const ExchangePtr& exchange);
void monitor_stream(Service& service, const ExchangePtr& exchange);
void monitor_history(Service& service, const ExchangePtr& exchange);
void monitor_prefixes(Service& service, const ExchangePtr& exchange);
void monitor_request(Service& service, const ExchangePtr& exchange);
void monitor_plan(Service& service, const ExchangePtr& exchange);
void monitor_tiers(Service& service, const ExchangePtr& exchange);
void monitor_doctor(Service& service, const ExchangePtr& exchange);
void monitor_log(Service& service, const ExchangePtr& exchange);
void own_requests(Service& service, const ExchangePtr& exchange);
void own_request(Service& service, const ExchangePtr& exchange);
void act_on_request(Service& service, const ExchangePtr& exchange);
// The chat and monitor page.
void web(Service& service, const ExchangePtr& exchange);
void openapi(Service& service, const ExchangePtr& exchange);
// Dialects that clients may look for and that this server does not speak.
void other_dialect(Service& service, const ExchangePtr& exchange);

}  // namespace serval
