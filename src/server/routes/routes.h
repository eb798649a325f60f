// The endpoints, one file each. All follow the signature of RouteFunction (router.h).
#pragma once

#include "server/http/exchange.h"
#include "server/service.h"

namespace serval {

void chat_completions(Service& service, const ExchangePtr& exchange);
void completions(Service& service, const ExchangePtr& exchange);
void embeddings(Service& service, const ExchangePtr& exchange);
void tokenize(Service& service, const ExchangePtr& exchange);
void detokenize(Service& service, const ExchangePtr& exchange);
void apply_template(Service& service, const ExchangePtr& exchange);
void list_models(Service& service, const ExchangePtr& exchange);
void show_model(Service& service, const ExchangePtr& exchange);
void health(Service& service, const ExchangePtr& exchange);
void livez(Service& service, const ExchangePtr& exchange);
void readyz(Service& service, const ExchangePtr& exchange);
void metrics(Service& service, const ExchangePtr& exchange);
void props(Service& service, const ExchangePtr& exchange);

}  // namespace serval
