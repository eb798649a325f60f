// The one error contract of the API: {"error": {message, type, param, code}} with a status that
// the official clients turn into the right exception.
#pragma once

#include <boost/json/object.hpp>
#include <string>

#include "serval/error.h"
#include "server/http/message.h"

namespace serval {

struct ApiError {
  int status = 400;
  std::string type = "invalid_request_error";
  std::string message;
  std::string param;          // the field at fault; empty: null
  std::string code;           // empty: null
  boost::json::object extra;  // further members of the error object
  int retry_after = 0;        // seconds; 0: no such header
  bool retry = true;          // false: the official clients are told not to try again
};

ApiError bad_field(std::string param, std::string message);
ApiError unauthorized(std::string message);
ApiError forbidden(std::string message, std::string code);
ApiError unknown_model(const std::string& name);
ApiError not_supported(std::string message);
ApiError overloaded(std::string message);
// The caller has more in flight than its share.
ApiError over_share(int limit);
ApiError context_too_long(size_t prompt_tokens, int context);
// Faults found by the HTTP layer.
ApiError protocol_error(int status, std::string message);
// The one place where the engine's errors become statuses.
ApiError from_engine(const Error& error);

std::string error_body(const ApiError& error);
HttpResponse error_response(const ApiError& error);

}  // namespace serval
