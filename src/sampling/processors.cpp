// The samplers, one function and one row each. `d` is the draw in progress; probabilities are taken
// over what earlier processors left. Sources: nucleus (top_p) Holtzman et al. 2020; typical Meister
// et al. 2023; mirostat 2 Basu et al. 2021; min_p Nguyen et al. 2024; top-n-sigma Tang et al. 2024;
// repetition penalty Keskar et al. 2019 (CTRL); presence and frequency penalties as the OpenAI API
// defines them; XTC and DRY p-e-w 2024.
#include "sampling/processors.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "sampling/philox.h"

namespace serval {
namespace {

constexpr double kNoLimit = std::numeric_limits<int32_t>::max();

size_t min_keep(const Draw& d) { return static_cast<size_t>(std::max(d.params.min_keep, 1)); }

// The last `count` tokens of the context; -1: all.
std::span<const TokenId> recent_tokens(const SamplingContext& context, int count) {
  const std::span<const TokenId> all(context.tokens, context.token_count);
  if (count < 0 || static_cast<size_t>(count) >= all.size()) return all;
  return all.last(static_cast<size_t>(count));
}

// Calls change(logit, scratch.counts[id]) for every candidate whose count is not zero, then clears
// the counts.
template <typename Change>
void change_touched(Draw& d, const Change& change) {
  SamplingScratch& s = d.scratch;
  Candidates& candidates = s.candidates;
  if (candidates.dense()) {
    const std::span<float> logits = candidates.logits();
    for (const TokenId id : s.touched) {
      float& logit = logits[static_cast<size_t>(id)];
      logit = change(logit, s.counts[static_cast<size_t>(id)]);
    }
  } else {
    for (Candidate& c : candidates.list()) {
      const int32_t count = s.counts[static_cast<size_t>(c.id)];
      if (count != 0) c.logit = change(c.logit, count);
    }
    candidates.mark_unsorted();
  }
  for (const TokenId id : s.touched) s.counts[static_cast<size_t>(id)] = 0;
  s.touched.clear();
}

int32_t& touch(Draw& d, TokenId id) {
  int32_t& count = d.scratch.counts[static_cast<size_t>(id)];
  if (count == 0) d.scratch.touched.push_back(id);
  return count;
}

void apply_logit_bias(Draw& d) {
  const std::span<float> logits = d.candidates().logits();
  for (const auto& [id, bias] : d.params.logit_bias) logits[static_cast<size_t>(id)] += bias;
}

void apply_penalties(Draw& d) {
  for (const TokenId id : recent_tokens(d.context, d.params.repeat_last_n)) ++touch(d, id);
  const SamplingParams& p = d.params;
  change_touched(d, [&](float logit, int32_t count) {
    logit = logit > 0 ? logit / p.repeat_penalty : logit * p.repeat_penalty;
    return logit - static_cast<float>(count) * p.frequency_penalty - p.presence_penalty;
  });
}

void apply_dry(Draw& d) {
  const SamplingParams& p = d.params;
  find_repetitions(recent_tokens(d.context, p.dry_penalty_last_n), p.dry_allowed_length, d.breakers,
                   d.scratch.z, d.scratch.matches);
  for (const DryMatch& match : d.scratch.matches) {
    int32_t& longest = touch(d, match.token);
    longest = std::max(longest, match.length);
  }
  change_touched(d, [&](float logit, int32_t length) {
    const double penalty = static_cast<double>(p.dry_multiplier) *
                           std::pow(static_cast<double>(p.dry_base), length - p.dry_allowed_length);
    return logit - static_cast<float>(std::min(penalty, 1e30));
  });
}

void apply_top_n_sigma(Draw& d) {
  Candidates& candidates = d.candidates();
  double sum = 0;
  double squares = 0;
  size_t n = 0;
  const float top = candidates.max_logit();
  const auto add = [&](float logit) {  // relative to the maximum, so that squares stay small
    if (!std::isfinite(logit)) return;
    const double x = static_cast<double>(logit) - static_cast<double>(top);
    sum += x;
    squares += x * x;
    ++n;
  };
  if (candidates.dense()) {
    for (const float logit : candidates.logits()) add(logit);
  } else {
    for (const Candidate& c : candidates.list()) add(c.logit);
  }
  if (n == 0) return;
  const double mean = sum / static_cast<double>(n);
  const double deviation = std::sqrt(std::max(squares / static_cast<double>(n) - mean * mean, 0.0));
  candidates.keep_above(static_cast<float>(static_cast<double>(top) -
                                           static_cast<double>(d.params.top_n_sigma) * deviation),
                        1);
}

void apply_top_k(Draw& d) {
  d.candidates().keep_top(static_cast<size_t>(std::max(d.params.top_k, d.params.min_keep)));
}

void apply_typical(Draw& d) {
  Candidates& candidates = d.candidates();
  candidates.softmax();
  std::vector<Candidate>& list = candidates.list();
  double entropy = 0;
  for (const Candidate& c : list) {
    if (c.probability > 0) {
      entropy -= static_cast<double>(c.probability) * std::log(static_cast<double>(c.probability));
    }
  }
  auto& keyed = d.scratch.keyed;
  keyed.clear();
  for (const Candidate& c : list) {
    const double surprise = c.probability > 0 ? -std::log(static_cast<double>(c.probability))
                                              : std::numeric_limits<double>::infinity();
    keyed.emplace_back(static_cast<float>(std::fabs(surprise - entropy)), c);
  }
  std::sort(keyed.begin(), keyed.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first < b.first : ranks_before(a.second, b.second);
  });
  double mass = 0;
  size_t kept = 0;
  while (kept < keyed.size()) {
    mass += static_cast<double>(keyed[kept].second.probability);
    ++kept;
    if (mass > static_cast<double>(d.params.typical_p) && kept >= min_keep(d)) break;
  }
  for (size_t i = 0; i < kept; ++i) list[i] = keyed[i].second;
  candidates.keep_first(kept);
  candidates.mark_unsorted();
}

void apply_top_p(Draw& d) {
  Candidates& candidates = d.candidates();
  candidates.softmax();
  const std::vector<Candidate>& list = candidates.list();
  // The nucleus is usually small: sort 64, then 8 times more, until the mass is reached.
  size_t sorted = 0;
  double mass = 0;
  size_t kept = 0;
  while (kept < list.size()) {
    if (kept == sorted) {
      sorted = std::min(list.size(), std::max<size_t>(64, 8 * sorted));
      candidates.sort_first(sorted);
      mass = 0;
      for (size_t i = 0; i < kept; ++i) mass += static_cast<double>(list[i].probability);
    }
    mass += static_cast<double>(list[kept].probability);
    ++kept;
    if (mass >= static_cast<double>(d.params.top_p) && kept >= min_keep(d)) break;
  }
  candidates.keep_top(kept);
}

void apply_min_p(Draw& d) {
  Candidates& candidates = d.candidates();
  candidates.keep_above(candidates.max_logit() + std::log(d.params.min_p), min_keep(d));
}

void apply_xtc(Draw& d) {
  const SamplingParams& p = d.params;
  if (uniform(d.context.seed, d.context.position, DrawPurpose::kXtc) >=
      static_cast<double>(p.xtc_probability)) {
    return;
  }
  Candidates& candidates = d.candidates();
  candidates.softmax();
  candidates.sort();
  std::vector<Candidate>& list = candidates.list();
  size_t above = 0;
  while (above < list.size() && list[above].probability >= p.xtc_threshold) ++above;
  // All choices above the threshold but the least likely go.
  if (above < 2 || list.size() - (above - 1) < min_keep(d)) return;
  list.erase(list.begin(), list.begin() + static_cast<std::ptrdiff_t>(above - 1));
}

void apply_temperature(Draw& d) {
  if (d.params.temperature > 0) {
    d.candidates().scale(1.0F / d.params.temperature);
  } else {
    d.candidates().keep_top(1);
  }
}

// Keeps the candidates whose surprise is at most mu; after the draw, mirostat_update moves mu so
// that the surprise settles at tau.
void apply_mirostat(Draw& d) {
  Candidates& candidates = d.candidates();
  candidates.softmax();
  candidates.sort();
  const std::vector<Candidate>& list = candidates.list();
  size_t kept = 0;
  while (kept < list.size() && -std::log2(list[kept].probability) <= d.state.mirostat_mu) ++kept;
  candidates.keep_first(std::max<size_t>(kept, 1));
}

// ---- The table

template <typename T>
struct MemberType;
template <typename T>
struct MemberType<T SamplingParams::*> {
  using type = T;
};

template <auto Member>
constexpr Parameter parameter(std::string_view name, double minimum, double maximum,
                              std::string_view meaning) {
  using Type = typename MemberType<decltype(Member)>::type;
  return {name,
          minimum,
          maximum,
          std::is_integral_v<Type>,
          [](const SamplingParams& p) { return static_cast<double>(p.*Member); },
          [](SamplingParams& p, double value) { p.*Member = static_cast<Type>(value); },
          meaning};
}

using P = SamplingParams;

constexpr Parameter kPenalties[] = {
    parameter<&P::repeat_penalty>(
        "repeat_penalty", 0.001, 1000,
        "divides positive and multiplies negative logits of recent tokens; 1: off"),
    parameter<&P::repeat_last_n>("repeat_last_n", -1, kNoLimit,
                                 "tokens the three penalties look back at; 0: off, -1: all"),
    parameter<&P::presence_penalty>("presence_penalty", -100, 100,
                                    "subtracted once from every recent token; 0: off"),
    parameter<&P::frequency_penalty>("frequency_penalty", -100, 100,
                                     "subtracted per occurrence of a recent token; 0: off"),
};
constexpr Parameter kDry[] = {
    parameter<&P::dry_multiplier>("dry_multiplier", 0, 100, "strength; 0: off"),
    parameter<&P::dry_base>("dry_base", 1, 100, "growth with the length of the repetition"),
    parameter<&P::dry_allowed_length>("dry_allowed_length", 0, kNoLimit,
                                      "repetitions shorter than this are free"),
    parameter<&P::dry_penalty_last_n>("dry_penalty_last_n", -1, kNoLimit,
                                      "tokens searched for repetitions; 0: off, -1: all"),
};
constexpr Parameter kTopNSigma[] = {
    parameter<&P::top_n_sigma>("top_n_sigma", -1, 1000,
                               "standard deviations below the best logit that stay; <= 0: off"),
};
constexpr Parameter kTopK[] = {
    parameter<&P::top_k>("top_k", -1, kNoLimit, "candidates that stay; <= 0: off"),
};
constexpr Parameter kTypical[] = {
    parameter<&P::typical_p>("typical_p", 0, 1,
                             "probability kept, most typical surprise first; 1: off"),
};
constexpr Parameter kTopP[] = {
    parameter<&P::top_p>("top_p", 0, 1, "probability kept, best first; 1: off"),
};
constexpr Parameter kMinP[] = {
    parameter<&P::min_p>("min_p", 0, 1, "share of the best token's probability needed; 0: off"),
};
constexpr Parameter kXtc[] = {
    parameter<&P::xtc_probability>("xtc_probability", 0, 1, "chance to act at a token; 0: off"),
    parameter<&P::xtc_threshold>("xtc_threshold", 0, 1,
                                 "all tokens at least so likely go, but one; > 0.5: off"),
};
constexpr Parameter kTemperature[] = {
    parameter<&P::temperature>("temperature", 0, 100, "divides logits; 0: greedy, whatever else"),
};
constexpr Parameter kMirostat[] = {
    parameter<&P::mirostat>("mirostat", 0, 2,
                            "0: off; 2: version 2 in place of the truncating samplers"),
    parameter<&P::mirostat_tau>("mirostat_tau", 0, 100, "target surprise in bits"),
    parameter<&P::mirostat_eta>("mirostat_eta", 0, 1, "learning rate"),
};
constexpr Parameter kGeneral[] = {
    parameter<&P::min_keep>("min_keep", 0, kNoLimit,
                            "truncating samplers leave at least so many candidates"),
};

bool penalties_active(const P& p) {
  return p.repeat_last_n != 0 &&
         (p.repeat_penalty != 1 || p.presence_penalty != 0 || p.frequency_penalty != 0);
}

constexpr std::string_view kTypicalNames[] = {"typ_p", "typical"};
constexpr std::string_view kTemperatureNames[] = {"temp"};

constexpr Processor kProcessors[] = {
    {"logit_bias",
     {},
     Stage::kFirst,
     {},
     "Adds the request's `logit_bias` to single tokens.",
     [](const P& p) { return !p.logit_bias.empty(); },
     apply_logit_bias},
    {"penalties",
     {},
     Stage::kWeigh,
     kPenalties,
     "Repetition, presence and frequency penalties.",
     penalties_active,
     apply_penalties},
    {"dry",
     {},
     Stage::kWeigh,
     kDry,
     "Makes continuing a repetition exponentially less likely; repetitions start anew at "
     "`dry_sequence_breakers`.",
     [](const P& p) { return p.dry_multiplier > 0 && p.dry_penalty_last_n != 0; },
     apply_dry},
    {"top_n_sigma",
     {},
     Stage::kTruncate,
     kTopNSigma,
     "Keeps logits within so many standard deviations of the best.",
     [](const P& p) { return p.top_n_sigma > 0; },
     apply_top_n_sigma},
    {"top_k",
     {},
     Stage::kTruncate,
     kTopK,
     "Keeps the k best.",
     [](const P& p) { return p.top_k > 0; },
     apply_top_k},
    {"typical_p", kTypicalNames, Stage::kTruncate, kTypical,
     "Keeps tokens whose surprise is nearest to the entropy.",
     [](const P& p) { return p.typical_p < 1; }, apply_typical},
    {"top_p",
     {},
     Stage::kTruncate,
     kTopP,
     "Keeps the smallest set that holds so much probability.",
     [](const P& p) { return p.top_p < 1; },
     apply_top_p},
    {"min_p",
     {},
     Stage::kTruncate,
     kMinP,
     "Drops tokens far less likely than the best.",
     [](const P& p) { return p.min_p > 0; },
     apply_min_p},
    {"xtc",
     {},
     Stage::kTruncate,
     kXtc,
     "Excludes the top choices, now and then.",
     [](const P& p) { return p.xtc_probability > 0 && p.xtc_threshold <= 0.5F; },
     apply_xtc},
    {"temperature", kTemperatureNames, Stage::kWeigh, kTemperature,
     "Flattens or sharpens what is left.", [](const P& p) { return p.temperature != 1; },
     apply_temperature},
    {"mirostat",
     {},
     Stage::kLast,
     kMirostat,
     "Steers the surprise of the text; runs after temperature.",
     [](const P& p) { return p.mirostat == 2; },
     apply_mirostat},
};

constexpr std::string_view kDefaultChain[] = {
    "penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature"};

}  // namespace

std::span<const Processor> processors() { return kProcessors; }
std::span<const Parameter> general_parameters() { return kGeneral; }
std::span<const std::string_view> default_chain() { return kDefaultChain; }

const Processor* find_processor(std::string_view name) {
  for (const Processor& p : kProcessors) {
    if (p.name == name) return &p;
    if (std::find(p.aliases.begin(), p.aliases.end(), name) != p.aliases.end()) return &p;
  }
  return nullptr;
}

const Parameter* find_parameter(std::string_view name) {
  for (const Processor& p : kProcessors) {
    for (const Parameter& parameter : p.parameters) {
      if (parameter.name == name) return &parameter;
    }
  }
  for (const Parameter& parameter : kGeneral) {
    if (parameter.name == name) return &parameter;
  }
  return nullptr;
}

}  // namespace serval
