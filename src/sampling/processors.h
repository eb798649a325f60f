// The table of samplers: every processor with its JSON name, its parameters (default, range,
// meaning) and the function that applies it. Validation, name lookup, JSON decoding and
// docs/reference/sampling.md all read this one table; a new sampler is one row in processors.cpp.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sampling/candidates.h"
#include "sampling/dry.h"
#include "serval/request.h"

namespace serval {

// Buffers shared by all draws of one thread, so that drawing does not allocate.
struct SamplingScratch {
  Candidates candidates;
  std::vector<int32_t> counts;                     // [vocab], zero between uses
  std::vector<TokenId> touched;                    // ids with counts != 0
  std::vector<int32_t> z;                          // dry: match lengths
  std::vector<DryMatch> matches;                   // dry
  std::vector<float> raw;                          // the model's logits, kept for log-probabilities
  std::vector<std::pair<float, Candidate>> keyed;  // typical
};

// Mutable state of one request's chain (mirostat's running estimate).
struct ChainState {
  float mirostat_mu = 0.0F;
};

// One draw in progress, handed from processor to processor.
struct Draw {
  const SamplingParams& params;
  const SamplingContext& context;
  const DryBreakers* breakers = nullptr;
  ChainState& state;
  SamplingScratch& scratch;
  Candidates& candidates() const { return scratch.candidates; }
};

struct Parameter {
  std::string_view name;  // in JSON
  double minimum = 0, maximum = 0;
  bool integer = false;
  double (*get)(const SamplingParams&) = nullptr;
  void (*set)(SamplingParams&, double) = nullptr;
  std::string_view meaning;
};

// When a processor runs. Mirostat replaces the truncations; a greedy draw does not need them.
enum class Stage : uint8_t {
  kFirst,     // before the chain, in every draw
  kWeigh,     // in the chain: changes logits
  kTruncate,  // in the chain: drops candidates
  kLast,      // after the chain
};

struct Processor {
  std::string_view name;                      // as in SamplingParams::samplers
  std::span<const std::string_view> aliases;  // other accepted spellings
  Stage stage = Stage::kTruncate;
  std::span<const Parameter> parameters;
  std::string_view summary;
  bool (*active)(const SamplingParams&) = nullptr;  // false: apply would change nothing
  void (*apply)(Draw&) = nullptr;
};

std::span<const Processor> processors();
// Parameters that belong to no single processor.
std::span<const Parameter> general_parameters();
// By name or alias; null when there is none.
const Processor* find_processor(std::string_view name);
const Parameter* find_parameter(std::string_view name);
// The order of the chain when a request names none.
std::span<const std::string_view> default_chain();

// Every field finite and in range, every sampler known, biases on real tokens. The Error names the
// field.
Result<void> validate(const SamplingParams& params, int vocab_size);

// docs/reference/sampling.md
std::string sampling_reference();

}  // namespace serval
