// Short ways for routes to answer, from any thread.
#pragma once

#include <boost/json/object.hpp>
#include <optional>
#include <span>

#include "server/http/exchange.h"
#include "server/openai/api_error.h"
#include "server/openai/fields.h"
#include "server/service.h"

namespace serval {

void answer(const ExchangePtr& exchange, HttpResponse response);
void answer_json(const ExchangePtr& exchange, const boost::json::object& body);
void answer_error(const ExchangePtr& exchange, const ApiError& error);

// Body -> checked object that asks for our model; answers the error and returns nullopt otherwise.
// `fields` may be empty when a decoder of its own checks them.
std::optional<boost::json::object> read_request(Service& service, const ExchangePtr& exchange,
                                                std::span<const Field> fields);

}  // namespace serval
