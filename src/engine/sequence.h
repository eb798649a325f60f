// Sequence: one request inside the engine. Made by input on the caller's thread, moved through the
// inbox, then owned by the scheduler and touched by the engine thread only.
//
// The scheduler knows only this: `tokens` are known, the first `computed` of them have their KV in
// `blocks`, the rest is to be computed. Prompt, chunk, decode and a preempted sequence that starts
// again are all the same difference. What else a request needs is its Generation.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/delivery.h"
#include "engine/output.h"
#include "sampling/chain.h"
#include "schedule/admission.h"
#include "schedule/block_manager.h"
#include "serval/request.h"

namespace serval {

using Clock = std::function<int64_t()>;  // microseconds, monotonic; tests bring their own

// From logits to events: everything about a request that does not matter for scheduling.
struct Generation {
  Generation(SamplingChain sampling_chain, OutputStream output_stream, OutletPtr event_outlet)
      : chain(std::move(sampling_chain)),
        output(std::move(output_stream)),
        outlet(std::move(event_outlet)) {}

  SamplingChain chain;
  OutputStream output;
  OutletPtr outlet;
  uint64_t seed = 0;
  int min_tokens = 0;
  int logprobs = 0;
  std::vector<TokenId> ends;          // sorted: tokens that end the text
  std::vector<TokenId> banned_early;  // until min_tokens are there
  std::vector<TokenId> banned;        // after that
  std::function<void(int, const float*, int)> prompt_logits;
  int next_scored = 0;  // first prompt position whose logits were not yet given out

  // Written by the runner in each step.
  std::optional<TokenId> sampled;
  TokenLogprob logprob;  // when logprobs > 0

  // Sums of the hidden states of positions below next_pooled, in order.
  Pooling pooling = Pooling::kNone;
  std::vector<double> pooled;
  int next_pooled = 0;

  bool progress = false;
  int rows_in_last_step = 0;
  uint64_t last_step = 0;  // in which rows were computed for it

  int64_t submitted_us = 0, started_us = -1, first_token_us = -1, last_token_us = -1;
  int64_t begin_before_us = INT64_MAX, end_before_us = INT64_MAX;  // deadlines
};

class Core;
struct Sequence;
// Called when a sequence ended, while it still holds its blocks (snapshots keep some).
using BeforeRelease = std::function<void(Core&, Sequence&)>;

struct Sequence {
  RequestId id = 0;  // rises with arrival: a smaller id is older
  std::vector<TokenId> tokens;
  int prompt_tokens = 0;
  int length_limit = 0;                                // no token is chosen beyond this length
  FinishReason at_limit = FinishReason::kContextFull;  // the outcome of reaching it
  bool use_cache = true;
  int reuse_limit = 0;  // cached KV may stand for at most so many leading tokens

  int computed = 0;
  int cached_tokens = 0;  // of the prompt, taken from the cache at first admission
  int disk_tokens = 0;    // of these, read from disk
  int preemptions = 0;
  bool paused = false;   // gets no rows and secures no blocks
  bool loading = false;  // its cached KV is being read from disk: not admitted before that ended
  BlockTable blocks;

  // From the request: how it shares the engine.
  int priority = 0;
  std::string tenant, cache_salt;
  // The scheduler's own.
  CacheDomain domain = 0;
  Tenant* account = nullptr;
  int64_t arrival = 0;     // in tokens: see Scheduler
  int charged = 0;         // leading tokens that the tenant paid for
  int passed_over = 0;     // times another was admitted where this one did not fit
  int prefix_waits = 0;    // steps spent waiting for a prefix that another was computing
  uint64_t looked_at = 0;  // the plan in which admission last considered it, and
  bool no_room = false;    // found no room for it
  // Set when it ended; whoever sees it first wins.
  std::optional<FinishReason> finished;
  std::optional<Error> failed;
  BeforeRelease before_release;

  std::unique_ptr<Generation> generation;  // null in scheduler tests

  int known() const { return static_cast<int>(tokens.size()); }
  int pending() const { return known() - computed; }
  int completion_tokens() const { return known() - prompt_tokens; }
  bool ended() const { return finished.has_value() || failed.has_value(); }
};
using SequencePtr = std::unique_ptr<Sequence>;

}  // namespace serval
