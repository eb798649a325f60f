// SamplingChain: one request's way from logits to a token. Owned by its sequence, used on the
// engine thread only. Deterministic: the result is a function of the logits, the parameters, the
// context's tokens, seed and position, and (mirostat) of the earlier draws of this request.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "sampling/processors.h"
#include "serval/request.h"

namespace serval {

class SamplingChain {
 public:
  // REQUIRES: validate(params) passed. `breakers` may be null.
  SamplingChain(SamplingParams params, std::shared_ptr<const DryBreakers> breakers);

  // Chooses a token. Changes `logits`. `banned` cannot be chosen (tokens that would end the text
  // too early). Throws what plug-ins throw, and Error when no token is left to choose.
  TokenId draw(std::span<float> logits, const SamplingContext& context,
               std::span<const TokenId> banned, SamplingScratch& scratch);
  const SamplingParams& params() const { return params_; }

 private:
  bool greedy_on_dense() const;
  TokenId pick(Draw& draw);

  SamplingParams params_;
  std::shared_ptr<const DryBreakers> breakers_;
  std::vector<const Processor*> steps_;  // in order of application, active ones only
  ChainState state_;
};

// Log-probability of `token` and of the `top` best under the model's own logits.
TokenLogprob token_logprob(std::span<const float> logits, TokenId token, int top,
                           std::vector<Candidate>& scratch);

}  // namespace serval
