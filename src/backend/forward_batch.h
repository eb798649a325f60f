// ForwardBatch: everything a verb may know about one step. Plain data built once per step by the
// runner; all spans stay alive until Backend::end_step. "Rows" are the tokens of the ragged batch,
// in order of their spans.
#pragma once

#include <cstdint>
#include <span>

namespace serval {

inline constexpr int kBlockTokens = 32;  // tokens per KV block
inline constexpr int kSegmentTokens =
    512;  // attention partials are merged at these absolute positions
inline constexpr int kMaxLogitSlice = 64;  // rows per LogitSink call

using BlockId = int32_t;

// Consecutive rows of one sequence: a prefill chunk (rows > 1) or a decode (rows == 1).
struct RowSpan {
  int first_row = 0;  // into ForwardBatch::tokens
  int rows = 0;
  int past = 0;         // tokens of this sequence already in the cache; row i has position past + i
  int first_block = 0;  // index into block_tables of the block holding position 0
};

struct ForwardBatch {
  std::span<const int32_t> tokens;        // [rows] token ids
  std::span<const int32_t> positions;     // [rows]
  std::span<const RowSpan> spans;         // cover all rows, in order
  std::span<const BlockId> block_tables;  // per span: ceil((past + rows) / kBlockTokens) ids
  std::span<const int32_t> logit_rows;    // rows whose logits are wanted, ascending
  std::span<const int32_t> hidden_rows =
      {};  // rows whose hidden states after the last norm are wanted, ascending
  int rows() const { return static_cast<int>(tokens.size()); }
};

// Upper bounds of every step, fixed when buffers are made: nothing allocates after that.
struct StepLimits {
  int rows = 512;        // tokens per step
  int spans = 64;        // sequences per step
  int logit_rows = 512;  // rows with logits per step
  int context = 4096;    // positions of one sequence
};

}  // namespace serval
