// A draw: plug-in processor, banned tokens, bias, the chain in the request's order, then one number
// from Philox picks by inverse cumulative probability over the candidates as the chain left them.
#include "sampling/chain.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "sampling/philox.h"

namespace serval {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

void check_weights(std::span<const float> logits) {
  for (const float x : logits) {
    if (!(x < std::numeric_limits<float>::infinity())) {
      throw Error(ErrorCode::kInvalidArgument,
                  "the logits processor of this request wrote NaN or infinity");
    }
  }
}

}  // namespace

SamplingChain::SamplingChain(SamplingParams params, std::shared_ptr<const DryBreakers> breakers)
    : params_(std::move(params)), breakers_(std::move(breakers)) {
  const auto add = [&](const Processor* processor) {
    if (params_.mirostat == 2 && processor->stage == Stage::kTruncate) return;
    if (processor->active(params_)) steps_.push_back(processor);
  };
  for (const Processor& p : processors()) {
    if (p.stage == Stage::kFirst) add(&p);
  }
  if (params_.samplers.empty()) {
    for (const std::string_view name : default_chain()) add(find_processor(name));
  } else {
    for (const std::string& name : params_.samplers) add(find_processor(name));
  }
  for (const Processor& p : processors()) {
    if (p.stage == Stage::kLast) add(&p);
  }
  if (greedy_on_dense()) {
    // Truncations keep the best token, so only what changes the order of tokens matters.
    std::erase_if(steps_, [](const Processor* p) {
      return p->stage == Stage::kTruncate || p->stage == Stage::kLast || p->name == "temperature";
    });
  }
  state_.mirostat_mu = 2 * params_.mirostat_tau;
}

bool SamplingChain::greedy_on_dense() const {
  return params_.temperature <= 0 && params_.sampler == nullptr &&
         std::none_of(steps_.begin(), steps_.end(), [](const Processor* p) {
           return p->name == "xtc" || p->name == "typical_p";
         });
}

TokenId SamplingChain::draw(std::span<float> logits, const SamplingContext& context,
                            std::span<const TokenId> banned, SamplingScratch& scratch) {
  if (params_.logits_processor != nullptr) {
    params_.logits_processor->process(context, logits.data(), logits.size());
    check_weights(logits);
  }
  for (const TokenId id : banned) logits[static_cast<size_t>(id)] = kMinusInfinity;
  if (scratch.counts.size() < logits.size()) scratch.counts.resize(logits.size());
  scratch.candidates.reset(logits);
  Draw draw{params_, context, breakers_.get(), state_, scratch};
  for (const Processor* step : steps_) step->apply(draw);
  return pick(draw);
}

TokenId SamplingChain::pick(Draw& draw) {
  Candidates& candidates = draw.candidates();
  const auto require_choice = [](bool some) {
    if (!some) {
      throw Error(ErrorCode::kInvalidArgument,
                  "no token is left to choose: every one is banned or excluded");
    }
  };
  if (candidates.dense() && params_.temperature <= 0 && params_.sampler == nullptr) {
    const size_t best = argmax(candidates.logits());
    require_choice(candidates.logits()[best] > kMinusInfinity);
    return static_cast<TokenId>(best);
  }
  if (params_.temperature <= 0) candidates.keep_top(1);
  require_choice(!candidates.list().empty());
  candidates.softmax();
  const std::vector<Candidate>& list = candidates.list();
  if (params_.sampler != nullptr) {
    candidates.sort();
    const TokenId id = params_.sampler->sample(draw.context, list);
    if (std::none_of(list.begin(), list.end(), [&](const Candidate& c) { return c.id == id; })) {
      throw Error(
          ErrorCode::kInvalidArgument,
          fmt::format("the sampler of this request chose token {}, which is not a candidate", id));
    }
    return id;
  }
  double total = 0;
  for (const Candidate& c : list) total += static_cast<double>(c.probability);
  double left = total * uniform(draw.context.seed, draw.context.position, DrawPurpose::kToken);
  const Candidate* chosen = nullptr;
  for (const Candidate& c : list) {
    if (c.probability <= 0) continue;
    chosen = &c;  // rounding may leave `left` above zero at the end: then the last possible one
    left -= static_cast<double>(c.probability);
    if (left < 0) break;
  }
  require_choice(chosen != nullptr);
  if (params_.mirostat == 2) {
    const float surprise = -std::log2(chosen->probability);
    draw.state.mirostat_mu -= params_.mirostat_eta * (surprise - params_.mirostat_tau);
  }
  return chosen->id;
}

TokenLogprob token_logprob(std::span<const float> logits, TokenId token, int top,
                           std::vector<Candidate>& scratch) {
  const double total = log_sum_exp(logits);
  const auto log_probability = [&](float logit) {
    return static_cast<float>(static_cast<double>(logit) - total);
  };
  TokenLogprob out;
  out.id = token;
  out.logprob = log_probability(logits[static_cast<size_t>(token)]);
  select_top(logits, static_cast<size_t>(top), scratch);
  out.top.reserve(scratch.size());
  for (const Candidate& c : scratch) out.top.emplace_back(c.id, log_probability(c.logit));
  return out;
}

}  // namespace serval
