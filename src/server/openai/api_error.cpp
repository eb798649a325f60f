// Statuses follow OpenAI's own list: a caller's fault is 4xx (its clients repeat every 5xx, so a
// poisonous request answered 5xx would arrive three times), overload is 503 with Retry-After, a
// fault of ours that would only repeat itself says x-should-retry: false.
#include "server/openai/api_error.h"

#include <fmt/format.h>

#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <utility>

#include "base/utf8.h"

namespace serval {
namespace {

namespace json = boost::json;

constexpr int kRetrySeconds = 1;

json::value text_or_null(const std::string& text) {
  return text.empty() ? json::value(nullptr) : json::value(replace_invalid_utf8(text));
}

}  // namespace

ApiError bad_field(std::string param, std::string message) {
  ApiError error;
  error.message = std::move(message);
  error.param = std::move(param);
  return error;
}

ApiError unauthorized(std::string message) {
  ApiError error;
  error.status = 401;
  error.type = "authentication_error";
  error.code = "invalid_api_key";
  error.message = std::move(message);
  return error;
}

ApiError forbidden(std::string message, std::string code) {
  ApiError error;
  error.status = 403;
  error.type = "permission_error";
  error.code = std::move(code);
  error.message = std::move(message);
  return error;
}

ApiError unknown_model(const std::string& name) {
  ApiError error;
  error.status = 404;
  error.message =
      fmt::format("the model \"{}\" is not served here; GET /v1/models lists what is", name);
  error.param = "model";
  error.code = "model_not_found";
  return error;
}

ApiError not_supported(std::string message) {
  ApiError error;
  error.status = 501;
  error.type = "not_supported_error";
  error.code = "not_supported";
  error.message = std::move(message);
  error.retry = false;
  return error;
}

ApiError overloaded(std::string message) {
  ApiError error;
  error.status = 503;
  error.type = "unavailable_error";
  error.code = "overloaded";
  error.message = std::move(message);
  error.retry_after = kRetrySeconds;
  return error;
}

ApiError over_share(int limit) {
  ApiError error;
  error.status = 429;
  error.type = "rate_limit_error";
  error.code = "rate_limit_exceeded";
  error.message =
      fmt::format("this key may have {} requests in flight; wait for some to end", limit);
  error.retry_after = kRetrySeconds;
  return error;
}

ApiError context_too_long(size_t prompt_tokens, int context) {
  ApiError error;
  error.message = fmt::format(
      "the prompt has {} tokens, but the context holds {} and one must stay free for the answer: "
      "shorten the prompt",
      prompt_tokens, context);
  error.code = "context_length_exceeded";
  error.extra["n_prompt_tokens"] = prompt_tokens;
  error.extra["n_ctx"] = context;
  return error;
}

ApiError protocol_error(int status, std::string message) {
  ApiError error;
  error.status = status;
  error.message = std::move(message);
  if (status == 503) {
    error.type = "unavailable_error";
    error.retry_after = kRetrySeconds;
  } else if (status == 404) {
    error.type = "not_found_error";
  }
  return error;
}

ApiError from_engine(const Error& error) {
  ApiError out;
  switch (error.code()) {
    case ErrorCode::kInvalidArgument:
      out.message = error.message();
      out.param = error.param();
      return out;
    case ErrorCode::kNotFound:
      out.status = 404;
      out.type = "not_found_error";
      out.message = error.message();
      return out;
    case ErrorCode::kUnsupported:
      return not_supported(error.message());
    case ErrorCode::kResourceExhausted:
    case ErrorCode::kDeadline:
      return overloaded(error.message());
    case ErrorCode::kOutOfMemory:
      return overloaded("not enough memory for this request just now");
    case ErrorCode::kCancelled:
      return overloaded("the request was stopped: the server is ending");
    case ErrorCode::kCorrupt:
    case ErrorCode::kIo:
    case ErrorCode::kInternal:
      break;
  }
  // What exactly went wrong inside is for the log, not for the client.
  out.status = 500;
  out.type = "server_error";
  out.code = "internal_error";
  out.message = "the server failed to compute this request";
  out.retry = false;
  return out;
}

std::string error_body(const ApiError& error) {
  // Texts may quote a client and cut in the middle of a character.
  json::object inner{{"message", replace_invalid_utf8(error.message)},
                     {"type", error.type},
                     {"param", text_or_null(error.param)},
                     {"code", text_or_null(error.code)}};
  for (const auto& member : error.extra) inner[member.key()] = member.value();
  return json::serialize(json::object{{"error", std::move(inner)}});
}

HttpResponse error_response(const ApiError& error) {
  HttpResponse response;
  response.status = error.status;
  response.body = error_body(error);
  if (error.retry_after > 0) {
    response.headers.emplace_back("Retry-After", std::to_string(error.retry_after));
  }
  if (!error.retry) response.headers.emplace_back("x-should-retry", "false");
  if (error.status == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  return response;
}

}  // namespace serval
