// What an engine tells those who watch it: events in the lives of requests, and surveys of its
// memory and its queue. Ids, labels and numbers; never text or tokens. Standard library only.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "serval/request.h"

namespace serval {

enum class LifeKind : uint8_t { kQueued, kBegan, kFirstToken, kPaused, kResumed, kEnded };
enum class LifeOutcome : uint8_t { kNone, kStop, kLength, kContextFull, kCancelled, kFailed };

// Times are microseconds of the monotonic clock.
struct LifeEvent {
  uint64_t number = 0;  // counts up from 1
  int64_t at_us = 0;
  RequestId request = 0;
  LifeKind kind = LifeKind::kQueued;
  LifeOutcome outcome = LifeOutcome::kNone;  // of kEnded
  int32_t prompt_tokens = 0;
  int32_t cached_tokens = 0;                       // from kBegan on
  int32_t completion_tokens = 0, preemptions = 0;  // of kEnded
  std::array<char, 32> tenant{};                   // zero-terminated, cut if need be
};

enum class BlockState : uint8_t {
  kFree,
  kLive,          // held by one sequence
  kShared,        // held by several
  kCached,        // held by nobody, kept for reuse
  kPinned,        // held by a loaded snapshot
  kInFlight,      // being filled from a disk
  kCachedOnDisk,  // cached, and also in kv_cache_dir
};
inline constexpr size_t kBlockStates = 7;

enum class SequenceStage : uint8_t { kWaiting, kLoading, kPrefill, kDecode, kPaused, kPreempted };

struct SequenceState {
  RequestId id = 0;
  SequenceStage stage = SequenceStage::kWaiting;
  int32_t computed = 0, preemptions = 0;
};

struct TenantState {
  std::string name;
  double served = 0;  // rows on its account
};

// A run of cached blocks without a branch, all of them used alike.
struct PrefixNode {
  int32_t parent = -1;      // index of the node before; -1: the beginning of a prompt
  uint64_t hash = 0;        // of everything up to its end
  uint64_t domain = 0;      // who may use it: see Request::cache_salt
  int32_t tokens = 0;       // of this node
  int32_t depth = 0;        // tokens before it
  int32_t held_blocks = 0;  // in use now
  uint32_t hits = 0;        // times it was found
  int64_t used_us = 0;      // last
};

// What a step consists of, as time is accounted.
enum class Operator : uint8_t {
  kBegin,         // rotations of the rows' positions
  kEmbed,         // token embeddings
  kAttentionIn,   // norm, Q, K and V, rotation, K and V into the cache
  kAttention,     // scores, softmax, values
  kAttentionOut,  // projection onto the residual stream
  kFfnIn,         // norm, gate and up, activation
  kFfnOut,        // down, onto the residual stream
  kHead,          // last norm and logits
  kSample,        // reading the logits: sampling, probabilities, pooling
};
inline constexpr size_t kOperators = 9;
inline constexpr std::array<std::string_view, kOperators> kOperatorNames = {
    "begin",  "embed",   "attention_in", "attention", "attention_out",
    "ffn_in", "ffn_out", "head",         "sample"};

// Since the load. Bytes: weights, K and V read at least. Multiply-adds: of products and attention.
struct OperatorWork {
  Operator op = Operator::kBegin;
  int layer = -1;  // -1: of no layer
  uint64_t calls = 0, nanoseconds = 0, bytes = 0, macs = 0;
};

// One operator of the model as it was planned when it was loaded.
struct PlannedOperator {
  Operator op = Operator::kBegin;
  int layer = -1;                       // -1: of no layer
  std::string what;                     // "attn_qkv: Q4_1 [960 x 576]"
  uint64_t weight_bytes = 0, macs = 0;  // macs: of matrix products, per token
};

// The state between two steps.
struct Survey {
  int64_t at_us = 0;
  std::vector<BlockState> blocks;
  std::vector<SequenceState> sequences;
  std::vector<TenantState> tenants;
  std::vector<PrefixNode> prefixes;  // when asked for
};

}  // namespace serval
