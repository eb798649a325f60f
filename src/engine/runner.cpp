// Rows whose logits are wanted: the last known token of a sequence that goes on, and prompt
// positions that are scored. Rows whose hidden states are wanted: what a pooled request has not
// summed yet; sums go in order of position, so neither chunks nor preemption change a bit of them.
// Sampling happens inside the sink, on the backend's own slice of
// logits, so a step never holds [rows, vocab] floats at once.
#include "engine/runner.h"

#include <cmath>
#include <exception>
#include <string>

namespace serval {
namespace {

// What a plug-in or a step may throw, as an Error.
template <typename Body>
std::optional<Error> caught(const char* what, const Body& body) {
  try {
    body();
    return std::nullopt;
  } catch (const Error& e) {
    return e;
  } catch (const std::exception& e) {
    return Error(ErrorCode::kInternal, std::string(what) + ": " + e.what());
  } catch (...) {
    return Error(ErrorCode::kInternal,
                 std::string(what) + ": something that is not a std::exception was thrown");
  }
}

bool pools(const Generation& g, const Sequence& s, int position) {
  switch (g.pooling) {
    case Pooling::kNone:
      return false;
    case Pooling::kMean:
      return position >= g.next_pooled;
    case Pooling::kLast:
      return position + 1 == s.prompt_tokens;
    case Pooling::kCls:
      return position == 0 && g.next_pooled == 0;
  }
  return false;
}

}  // namespace

Runner::Runner(const Model& model, Backend& backend, KvCache& kv, const StepLimits& limits,
               int vocab)
    : model_(model),
      backend_(backend),
      kv_(kv),
      vocab_(vocab),
      workspace_(backend, workspace_floats(model, limits)) {
  const auto rows = static_cast<size_t>(limits.rows);
  tokens_.reserve(rows);
  positions_.reserve(rows);
  logit_rows_.reserve(rows);
  uses_.reserve(rows);
  hidden_rows_.reserve(rows);
  pooled_.reserve(rows);
  spans_.reserve(static_cast<size_t>(limits.spans));
  scratch_.counts.resize(static_cast<size_t>(vocab));
}

void Runner::run(const StepPlan& plan) {
  tokens_.clear();
  positions_.clear();
  logit_rows_.clear();
  spans_.clear();
  block_tables_.clear();
  uses_.clear();
  hidden_rows_.clear();
  pooled_.clear();
  for (const PlannedSpan& span : plan.spans) add_span(span);
  const ForwardBatch batch{tokens_, positions_, spans_, block_tables_, logit_rows_, hidden_rows_};
  workspace_.reset();
  const std::optional<Error> fault =
      caught("the step failed", [&] { model_.forward(backend_, batch, kv_, workspace_, *this); });
  if (!fault) return;
  for (const PlannedSpan& span : plan.spans) span.sequence->failed = fault;
}

void Runner::add_span(const PlannedSpan& span) {
  Sequence& s = *span.sequence;
  Generation& g = *s.generation;
  g.sampled.reset();
  spans_.push_back({static_cast<int>(tokens_.size()), span.rows, s.computed,
                    static_cast<int>(block_tables_.size())});
  const int end = s.computed + span.rows;
  const int blocks = (end + kBlockTokens - 1) / kBlockTokens;
  block_tables_.insert(block_tables_.end(), s.blocks.begin(), s.blocks.begin() + blocks);
  for (int position = s.computed; position < end; ++position) {
    const bool score =
        g.prompt_logits != nullptr && position >= g.next_scored && position < s.prompt_tokens;
    const bool sample = position + 1 == s.known() && s.known() < s.length_limit;
    if (score || sample) {
      logit_rows_.push_back(static_cast<int32_t>(tokens_.size()));
      uses_.push_back({&s, position, score, sample});
    }
    if (pools(g, s, position)) {
      hidden_rows_.push_back(static_cast<int32_t>(tokens_.size()));
      pooled_.push_back({&s, position});
    }
    tokens_.push_back(s.tokens[static_cast<size_t>(position)]);
    positions_.push_back(position);
  }
}

void Runner::logits(int first, Tensor slice) {
  for (int r = 0; r < slice.rows; ++r) {
    const LogitUse& row = uses_[static_cast<size_t>(first + r)];
    if (row.sequence->failed) continue;
    const std::span<float> logits(slice.row(r), static_cast<size_t>(vocab_));
    if (auto fault = caught("sampling failed", [&] { use(row, logits); })) {
      row.sequence->failed = std::move(fault);
    }
  }
}

void Runner::hidden(int first, Tensor slice) {
  for (int r = 0; r < slice.rows; ++r) {
    const HiddenUse& row = pooled_[static_cast<size_t>(first + r)];
    if (row.sequence->failed) continue;
    const std::span<float> values(slice.row(r), static_cast<size_t>(slice.cols));
    if (auto fault = caught("pooling failed", [&] { pool(row, values); })) {
      row.sequence->failed = std::move(fault);
    }
  }
}

void Runner::pool(const HiddenUse& use, std::span<const float> values) {
  Generation& g = *use.sequence->generation;
  g.pooled.resize(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) {
      throw Error(ErrorCode::kInternal,
                  "the model computed a hidden state that is not finite at position " +
                      std::to_string(use.position));
    }
    g.pooled[i] += static_cast<double>(values[i]);
  }
  g.next_pooled = use.position + 1;
}

void Runner::use(const LogitUse& use, std::span<float> logits) {
  Sequence& s = *use.sequence;
  if (!all_finite(logits)) {
    throw Error(ErrorCode::kInternal, "the model computed a logit that is not finite at position " +
                                          std::to_string(use.position));
  }
  if (use.score) {
    s.generation->prompt_logits(use.position, logits.data(), vocab_);
    s.generation->next_scored = use.position + 1;
  }
  if (use.sample) sample(s, logits);
}

void Runner::sample(Sequence& s, std::span<float> logits) {
  Generation& g = *s.generation;
  if (g.logprobs > 0) scratch_.raw.assign(logits.begin(), logits.end());
  const SamplingContext context{s.tokens.data(), s.tokens.size(),
                                static_cast<size_t>(s.prompt_tokens), g.seed, s.tokens.size()};
  const auto& banned = s.completion_tokens() < g.min_tokens ? g.banned_early : g.banned;
  const TokenId token = g.chain.draw(logits, context, banned, scratch_);
  if (g.logprobs > 0) g.logprob = token_logprob(scratch_.raw, token, g.logprobs, top_);
  g.sampled = token;
}

}  // namespace serval
