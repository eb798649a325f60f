// Wire JSON -> engine requests.
#pragma once

#include <boost/json/object.hpp>
#include <optional>
#include <string>
#include <vector>

#include "serval/request.h"
#include "server/openai/api_error.h"

namespace serval {

struct GenerateCall {
  std::string model;            // as the client named it; empty: not named
  std::vector<Prompt> prompts;  // choices = prompts x n, in this order
  Request base;                 // everything but the prompt
  int n = 1;
  bool stream = false;
  bool include_usage = false;
  bool logprobs = false;
  int top_logprobs = 0;  // likeliest tokens shown with each
  bool echo = false;
  std::vector<std::string> warnings;
};

// REQUIRES of all: `defaults` is the model's own sampling.
std::optional<ApiError> decode_chat(const boost::json::object& body, const SamplingParams& defaults,
                                    GenerateCall& call);
std::optional<ApiError> decode_completion(const boost::json::object& body,
                                          const SamplingParams& defaults, GenerateCall& call);

// The `messages` of a chat; also for /tokenize and /apply-template.
std::optional<ApiError> decode_messages(const boost::json::object& body, ChatPrompt& chat);

}  // namespace serval
