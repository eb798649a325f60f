// Wire JSON -> engine requests.
#pragma once

#include <boost/json/object.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "serval/request.h"
#include "server/openai/api_error.h"
#include "server/openai/fields.h"

namespace serval {

inline constexpr size_t kMaxPrompts = 256;

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
  std::string suffix;              // completions: text after the answer
  bool timings_per_token = false;  // streams: in every chunk
  bool return_tokens = false;      // llama-server's dialect
  std::vector<std::string> warnings;
};

// REQUIRES of all: `defaults` is the model's own sampling.
std::optional<ApiError> decode_chat(const boost::json::object& body, const SamplingParams& defaults,
                                    GenerateCall& call);
std::optional<ApiError> decode_completion(const boost::json::object& body,
                                          const SamplingParams& defaults, GenerateCall& call);
// What all endpoints that generate text share. REQUIRES: `body` passed check_fields.
std::optional<ApiError> decode_generation(const boost::json::object& body,
                                          const SamplingParams& defaults, GenerateCall& call);

struct EmbeddingCall {
  std::string model;
  std::vector<Prompt> inputs;
  Request base;  // with pooling
  std::optional<int> dimensions;
  bool base64 = false;
  bool normalize = true;
  std::vector<std::string> warnings;
};
std::optional<ApiError> decode_embeddings(const boost::json::object& body, EmbeddingCall& call);

// The `messages` of a chat; also for /tokenize and /apply-template.
std::optional<ApiError> decode_messages(const boost::json::object& body, ChatPrompt& chat);

// A text, a list of texts, a list of token ids, or a list of such lists, from the field `name`.
struct PromptRules {
  const char* name = "prompt";
  size_t most = kMaxPrompts;
  bool parse_special = false, add_special = true;
};
std::optional<ApiError> decode_prompts(const boost::json::object& body, const PromptRules& rules,
                                       std::vector<Prompt>& out);

}  // namespace serval
