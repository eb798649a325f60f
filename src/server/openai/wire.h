// Engine events -> wire JSON. One Wire writes one reply in one dialect; this header also has the
// two of OpenAI, as its official clients parse them.
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
#include "server/openai/prompt_scores.h"

namespace serval {

// One choice: what is known of it so far, and everything once it ended.
struct Choice {
  Usage usage;
  Timings timings;
  uint64_t seed = 0;
  std::shared_ptr<const PromptScores> scores;  // when the prompt's own were asked for
  // At the end.
  FinishReason reason = FinishReason::kStop;
  std::string stop_text;
  // Of replies that are not streamed.
  std::string text;
  std::vector<TokenId> tokens;
  std::vector<TokenLogprob> logprobs;
};

struct WireOptions {
  std::string id;     // chatcmpl-..., cmpl-...
  std::string model;  // as the client is told
  std::string fingerprint;
  int64_t created = 0;
  bool logprobs = false;
  int top_logprobs = 0;
  bool include_usage = false;
  bool timings_per_token = false;
  bool return_tokens = false;
  std::vector<std::string> warnings;
};

// Used on one strand.
class Wire {
 public:
  virtual ~Wire() = default;

  // Streams: JSON texts of single chunks. An empty text means there is nothing to send.
  virtual std::string opening_chunk(int index, const Choice& choice) = 0;
  virtual std::string progress_chunk(int index, const Progress& progress) = 0;
  virtual std::string delta_chunk(int index, const TextDelta& delta, const Choice& so_far) = 0;
  virtual std::string closing_chunk(int index, const Choice& choice) = 0;
  // After all choices; empty unless the client asked for it.
  virtual std::string usage_chunk(const Usage& usage) = 0;
  // The framed event that ends the stream; may be empty.
  virtual std::string_view end_of_stream() const = 0;

  // The whole reply.
  virtual std::string body(std::span<const Choice> choices, const Usage& usage) = 0;
};

std::unique_ptr<Wire> chat_wire(const Engine& engine, WireOptions options);
// `echoes`: the prompt's text for each choice, or empty.
std::unique_ptr<Wire> completion_wire(const Engine& engine, WireOptions options,
                                      std::vector<std::string> echoes);

// The bytes of one token inside a text, control tokens shown.
std::string token_bytes(const Engine& engine, TokenId id);

boost::json::object usage_json(const Usage& usage);
boost::json::object timings_json(const Usage& usage, const Timings& timings);
boost::json::object progress_json(const Progress& progress);
boost::json::array byte_values(const std::string& bytes);
const char* finish_reason_text(FinishReason reason);

}  // namespace serval
