// Request, SamplingParams, Event: what goes into the engine and what comes out. Plain structs, no
// JSON.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "serval/error.h"

namespace serval {

using TokenId = int32_t;
using RequestId = uint64_t;

// A candidate token during sampling. `probability` is meaningful once a processor that needs it
// ran.
struct Candidate {
  TokenId id = 0;
  float logit = 0.0F;
  float probability = 0.0F;
};

// What a processor or sampler may know about its sequence. Valid during the call only.
struct SamplingContext {
  const TokenId* tokens = nullptr;  // prompt and generated tokens so far
  size_t token_count = 0;
  size_t prompt_tokens = 0;
  uint64_t seed = 0;
  uint64_t position = 0;  // of the token being chosen: draws are a function of (seed, position)
};

// Plug-in: changes logits before the built-in chain. One object per request; called on the engine
// thread only. An exception fails that request, nobody else.
class LogitsProcessor {
 public:
  virtual ~LogitsProcessor() = default;
  virtual void process(const SamplingContext& context, float* logits, size_t vocab) = 0;
};

// Plug-in: replaces the final choice. `candidates` is what the chain left, sorted by falling logit.
// Must return the id of one of them.
class Sampler {
 public:
  virtual ~Sampler() = default;
  virtual TokenId sample(const SamplingContext& context,
                         const std::vector<Candidate>& candidates) = 0;
};

// Defaults and ranges of every field: docs/reference/sampling.md, made from
// sampling/processors.cpp.
struct SamplingParams {
  float temperature = 0.8F;     // 0: greedy
  int top_k = 40;               // 0: off
  float top_p = 0.95F;          // 1: off
  float min_p = 0.05F;          // 0: off
  float typical_p = 1.0F;       // 1: off
  float top_n_sigma = -1.0F;    // <= 0: off
  float repeat_penalty = 1.0F;  // 1: off
  int repeat_last_n = 64;       // tokens the three penalties look back at; 0: off, -1: all
  float presence_penalty = 0.0F;
  float frequency_penalty = 0.0F;
  float dry_multiplier = 0.0F;  // 0: off
  float dry_base = 1.75F;
  int dry_allowed_length = 2;
  int dry_penalty_last_n = -1;  // -1: all
  std::vector<std::string> dry_sequence_breakers = {"\n", ":", "\"", "*"};
  float xtc_probability = 0.0F;  // 0: off
  float xtc_threshold = 0.1F;
  int mirostat = 0;  // 0 off, 2: version 2, replaces truncation
  float mirostat_tau = 5.0F;
  float mirostat_eta = 0.1F;
  int min_keep = 1;  // truncations leave at least so many candidates
  std::vector<std::pair<TokenId, float>> logit_bias;
  std::optional<uint64_t> seed;       // absent: drawn by the engine and reported in Started
  std::vector<std::string> samplers;  // order of the chain by name; empty: the default order
  std::shared_ptr<LogitsProcessor> logits_processor;
  std::shared_ptr<Sampler> sampler;
};

struct TextPrompt {
  std::string text;
  bool parse_special = false;  // may control tokens be written out in the text?
  bool add_special = true;     // BOS as the model wants it
};
struct ToolCall {
  std::string id, name, arguments_json;
};
struct ChatMessage {
  std::string role, content;
  std::string reasoning, name, tool_call_id;
  std::vector<ToolCall> tool_calls;
};
struct ChatPrompt {
  std::vector<ChatMessage> messages;
  std::string tools_json;  // JSON array or empty
  bool add_generation_prompt = true;
  std::string template_override;  // empty: the model's own
};
using Prompt = std::variant<std::vector<TokenId>, TextPrompt, ChatPrompt>;

// How the final hidden states of a prompt's tokens become one vector.
enum class Pooling { kNone, kMean, kLast, kCls };

struct Request {
  Prompt prompt;
  SamplingParams sampling;
  std::optional<int> max_tokens;  // absent: up to the remaining context; 0: compute the prompt only
  int min_tokens = 0;
  std::vector<std::string> stop;  // at most 16 of at most 256 bytes
  std::vector<TokenId> stop_tokens;
  bool ignore_eos = false;
  int logprobs = 0;       // top-K log-probabilities per generated token, 0..20
  bool special = false;   // show control tokens in the text
  bool use_cache = true;  // reuse KV of earlier requests with the same beginning
  // For scoring: called on the engine thread for every prompt position >= prompt_logits_from with
  // the raw logits (valid during the call). Such a request does not reuse cached KV at those
  // positions.
  std::function<void(int position, const float* logits, int vocab)> prompt_logits;
  int prompt_logits_from = 0;
  // Anything but kNone: no text; the outcome is one Pooled event. kMean and kCls compute the whole
  // prompt, kLast may begin with cached KV.
  Pooling pooling = Pooling::kNone;

  // Sharing the engine. The same tokens come out whatever stands here.
  int priority = 0;              // -100..100; higher is admitted and prefilled first
  std::string tenant;            // fairness: tenants get equal shares; "" is one of them
  std::string cache_salt;        // cached KV is shared only between equal (tenant, cache_salt)
  int64_t queue_timeout_ms = 0;  // fail with kDeadline if not begun by then; 0: wait
  int64_t timeout_ms = 0;        // end with what is there (kCancelled) after so long; 0: none
  bool progress = false;         // send Progress events while the prompt is computed
};

enum class FinishReason { kStop, kLength, kContextFull, kCancelled };
const char* to_string(FinishReason reason);

struct Usage {
  int prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0;
};
struct Timings {            // milliseconds, monotonic clock
  double queue_ms = 0;      // submit to first computed row
  double prompt_ms = 0;     // first computed row to first token
  double predicted_ms = 0;  // first token to last token
  double total_ms = 0;
  double prompt_per_second = 0;     // computed prompt tokens / prompt_ms
  double predicted_per_second = 0;  // (completion_tokens - 1) / predicted_ms
};
struct TokenLogprob {
  TokenId id = 0;
  float logprob = 0.0F;
  std::vector<std::pair<TokenId, float>> top;
};

struct Started {
  int prompt_tokens = 0, cached_tokens = 0;
  uint64_t seed = 0;
};
// After each step that computed prompt tokens, when asked for. `computed` includes cached ones.
struct Progress {
  int computed = 0, prompt_tokens = 0, cached_tokens = 0;
  double elapsed_ms = 0;  // since the first computed row
};
// The outcome of a request with pooling: hidden_size values, not normalised.
struct Pooled {
  std::vector<float> values;
};
// Whole UTF-8 characters only; `text` may be empty while bytes are held back. Tokens in order of
// generation.
struct TextDelta {
  std::string text;
  std::vector<TokenId> tokens;
  std::vector<TokenLogprob> logprobs;
};
struct Finished {
  FinishReason reason = FinishReason::kStop;
  std::string stop_text;  // the stop string that matched, if any
  Usage usage;
  Timings timings;
};
struct Failed {
  Error error;
};
using Event = std::variant<Started, Progress, Pooled, TextDelta, Finished, Failed>;

// Runs on the engine's delivery thread, one event at a time per request. Return false to stop the
// request (it then finishes as cancelled). The last event is Finished or Failed, exactly one of
// them.
using EventSink = std::function<bool(RequestId, const Event&)>;

}  // namespace serval
