// Runner: turns a step plan into the arrays of a ForwardBatch, runs the model, and handles each row
// of logits or hidden states as it arrives: scoring, log-probabilities, sampling, pooling. A fault
// of one request (a plug-in that throws, logits that are not finite) is noted in its sequence and
// touches no other.
//
// Owned by the engine core; engine thread only. Nothing allocates after the first steps.
#pragma once

#include <vector>

#include "backend/backend.h"
#include "backend/workspace.h"
#include "engine/scheduler.h"
#include "model/kv_cache.h"
#include "model/model.h"
#include "sampling/chain.h"

namespace serval {

class Runner final : private LogitSink {
 public:
  // All referenced objects must outlive the runner. `vocab`: tokens that may be chosen (models may
  // have padding rows beyond it).
  Runner(const Model& model, Backend& backend, KvCache& kv, const StepLimits& limits, int vocab);

  // Computes the plan's rows. Results: Generation::sampled, Sequence::failed. A fault of the world
  // during the step (Error, out of memory) fails every planned sequence.
  void run(const StepPlan& plan);
  size_t workspace_bytes() const { return workspace_.bytes(); }
  int logit_rows() const { return static_cast<int>(logit_rows_.size()); }  // of the last run

 private:
  struct HiddenUse {
    Sequence* sequence = nullptr;
    int position = 0;
  };
  struct LogitUse {
    Sequence* sequence = nullptr;
    int position = 0;
    bool score = false;
    bool sample = false;
  };

  void add_span(const PlannedSpan& span);
  void logits(int first, Tensor slice) override;
  void hidden(int first, Tensor slice) override;
  void use(const LogitUse& use, std::span<float> logits);
  void pool(const HiddenUse& use, std::span<const float> values);
  void sample(Sequence& sequence, std::span<float> logits);

  const Model& model_;
  Backend& backend_;
  KvCache& kv_;
  int vocab_;
  Workspace workspace_;
  std::vector<int32_t> tokens_, positions_, logit_rows_, hidden_rows_;
  std::vector<RowSpan> spans_;
  std::vector<BlockId> block_tables_;
  std::vector<LogitUse> uses_;     // parallel to logit_rows_
  std::vector<HiddenUse> pooled_;  // parallel to hidden_rows_
  SamplingScratch scratch_;
  std::vector<Candidate> top_;
};

}  // namespace serval
