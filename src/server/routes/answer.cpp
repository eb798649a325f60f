#include "server/routes/answer.h"

#include <boost/json/serialize.hpp>
#include <utility>

#include "server/openai/json_body.h"

namespace serval {

void answer(const ExchangePtr& exchange, HttpResponse response) {
  exchange->post([exchange, response = std::move(response)]() mutable {
    exchange->reply(std::move(response));
  });
}

void answer_json(const ExchangePtr& exchange, const boost::json::object& body) {
  HttpResponse response;
  response.body = boost::json::serialize(body);
  answer(exchange, std::move(response));
}

void answer_error(const ExchangePtr& exchange, const ApiError& error) {
  answer(exchange, error_response(error));
}

std::optional<boost::json::object> read_request(Service& service, const ExchangePtr& exchange,
                                                std::span<const Field> fields) {
  boost::json::object body;
  std::vector<std::string> warnings;
  auto error = parse_body(exchange->request().body, body);
  if (!error && !fields.empty()) error = check_fields(body, fields, warnings);
  if (!error && !service.serves(string_field(body, "model"))) {
    error = unknown_model(string_field(body, "model"));
  }
  if (!error) return body;
  answer_error(exchange, *error);
  return std::nullopt;
}

}  // namespace serval
