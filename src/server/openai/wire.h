// Engine events -> wire JSON: the shapes that OpenAI's official clients parse.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "serval/engine.h"
#include "serval/request.h"

namespace serval {

// One choice, complete.
struct Choice {
  std::string text;
  std::vector<TokenLogprob> logprobs;
  FinishReason reason = FinishReason::kStop;
};

struct WireOptions {
  std::string id;     // chatcmpl-..., cmpl-...
  std::string model;  // as the client is told
  std::string fingerprint;
  int64_t created = 0;
  bool logprobs = false;
  int top_logprobs = 0;
  bool include_usage = false;
  std::vector<std::string> warnings;
};

// One reply in one dialect. Used on one strand.
class Wire {
 public:
  virtual ~Wire() = default;

  // Streams: JSON texts of single chunks. An empty text means there is nothing to send.
  virtual std::string opening_chunk(int choice) = 0;
  virtual std::string delta_chunk(int choice, const TextDelta& delta) = 0;
  virtual std::string closing_chunk(int choice, const Finished& finished) = 0;
  // After all choices; empty unless the client asked for it.
  virtual std::string usage_chunk(const Usage& usage) = 0;

  // The whole reply. `timings` only when there is one choice.
  virtual std::string body(std::span<const Choice> choices, const Usage& usage,
                           const std::optional<Timings>& timings) = 0;
};

std::unique_ptr<Wire> chat_wire(const Engine& engine, WireOptions options);
// `echoes`: the prompt's text for each choice, or empty.
std::unique_ptr<Wire> completion_wire(const Engine& engine, WireOptions options,
                                      std::vector<std::string> echoes);

// The bytes of one token inside a text, control tokens shown.
std::string token_bytes(const Engine& engine, TokenId id);

boost::json::object usage_json(const Usage& usage);
boost::json::object timings_json(const Usage& usage, const Timings& timings);
const char* finish_reason_text(FinishReason reason);

}  // namespace serval
