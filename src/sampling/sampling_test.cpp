// Draws against exact probabilities (chi-square), random numbers against the published vectors,
// selection against plain sorting. The processors' formulas are compared with NumPy in
// tests/sampling.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <numeric>
#include <random>
#include <sstream>

#include "sampling/chain.h"
#include "sampling/philox.h"

namespace serval {
namespace {

// Known answers of Random123 (kat_vectors, philox 4 32 10).
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(philox4x32_10({0, 0, 0, 0}, {0, 0}),
            (PhiloxCounter{0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8}));
  const uint32_t all = 0xFFFFFFFF;
  EXPECT_EQ(philox4x32_10({all, all, all, all}, {all, all}),
            (PhiloxCounter{0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD}));
  EXPECT_EQ(
      philox4x32_10({0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344}, {0xA4093822, 0x299F31D0}),
      (PhiloxCounter{0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1}));
}

std::vector<float> random_logits(size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> out(n);
  for (float& x : out) x = std::round(normal(random) * 8) / 8;  // with ties
  return out;
}

TEST(Candidates, SelectionEqualsSorting) {
  for (const size_t n : {1, 63, 64, 65, 1000, 5000}) {
    const auto logits = random_logits(n, static_cast<unsigned>(n));
    std::vector<Candidate> sorted;
    for (size_t i = 0; i < n; ++i) sorted.push_back({static_cast<TokenId>(i), logits[i], 0});
    std::sort(sorted.begin(), sorted.end(), ranks_before);
    EXPECT_EQ(argmax(logits), static_cast<size_t>(sorted[0].id));
    for (const size_t k : {size_t{1}, size_t{40}, n}) {
      std::vector<Candidate> top;
      select_top(logits, k, top);
      ASSERT_EQ(top.size(), std::min(k, n));
      for (size_t i = 0; i < top.size(); ++i) EXPECT_EQ(top[i].id, sorted[i].id);
      auto copy = logits;
      Candidates candidates;
      candidates.reset(copy);
      candidates.keep_top(k);
      for (size_t i = 0; i < top.size(); ++i) EXPECT_EQ(candidates.list()[i].id, sorted[i].id);
    }
    EXPECT_TRUE(all_finite(logits));
    for (const float bad : {NAN, INFINITY, -INFINITY}) {
      auto poisoned = logits;
      poisoned[n / 2] = bad;
      EXPECT_FALSE(all_finite(poisoned));
    }
  }
}

// Upper 1e-6 quantile of chi-square (Wilson and Hilferty 1931).
double chi_square_limit(double freedom) {
  const double z = 4.7534;
  const double h = 2.0 / (9.0 * freedom);
  return freedom * std::pow(1 - h + z * std::sqrt(h), 3);
}

void expect_distribution(SamplingParams params, const std::vector<float>& logits,
                         const std::vector<double>& expected) {
  constexpr int kDraws = 40000;
  SamplingChain chain(params, nullptr);
  SamplingScratch scratch;
  std::vector<int> counts(logits.size());
  const std::vector<TokenId> context = {1, 2, 3};
  for (int i = 0; i < kDraws; ++i) {
    auto copy = logits;
    const SamplingContext at{context.data(), context.size(), 3, 42, static_cast<uint64_t>(i)};
    ++counts[static_cast<size_t>(chain.draw(copy, at, {}, scratch))];
  }
  double chi = 0;
  int freedom = -1;
  for (size_t i = 0; i < expected.size(); ++i) {
    if (expected[i] <= 0) {
      EXPECT_EQ(counts[i], 0) << "token " << i;
      continue;
    }
    const double e = expected[i] * kDraws;
    chi += (counts[i] - e) * (counts[i] - e) / e;
    ++freedom;
  }
  if (freedom > 0) {
    EXPECT_LT(chi, chi_square_limit(freedom));
  }
}

SamplingParams neutral() {
  SamplingParams p;
  p.temperature = 1;
  p.top_k = 0;
  p.top_p = 1;
  p.min_p = 0;
  return p;
}

std::vector<double> softmax(const std::vector<float>& logits, double temperature = 1) {
  std::vector<double> p;
  for (const float x : logits) p.push_back(std::exp(static_cast<double>(x) / temperature));
  const double sum = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& x : p) x /= sum;
  return p;
}

std::vector<double> only(std::vector<double> p, const std::vector<size_t>& kept) {
  double sum = 0;
  for (const size_t i : kept) sum += p[i];
  std::vector<double> out(p.size(), 0.0);
  for (const size_t i : kept) out[i] = p[i] / sum;
  return out;
}

const std::vector<float> kLogits = {1.0F, 2.5F, 0.5F, 2.0F, -1.0F, 0.0F, 1.5F, -3.0F};
// From best to worst: 1 3 6 0 2 5 4 7.

TEST(Draws, FollowTheExactProbabilities) {
  SamplingParams p = neutral();
  expect_distribution(p, kLogits, softmax(kLogits));
  p.temperature = 0.5F;
  expect_distribution(p, kLogits, softmax(kLogits, 0.5));
  p.temperature = 2;
  p.top_k = 3;
  expect_distribution(p, kLogits, only(softmax(kLogits, 2), {1, 3, 6}));
  p = neutral();
  p.top_p = 0.7F;  // 0.4151 + 0.2518 = 0.667 < 0.7 <= 0.667 + 0.1527
  expect_distribution(p, kLogits, only(softmax(kLogits), {1, 3, 6}));
  p = neutral();
  p.min_p = 0.3F;  // exp(-1) = 0.37, exp(-1.5) = 0.22
  expect_distribution(p, kLogits, only(softmax(kLogits), {1, 3, 6}));
  p = neutral();
  p.xtc_probability = 1;
  p.xtc_threshold = 0.15F;  // 1, 3 and 6 are above: 6 stays
  expect_distribution(p, kLogits, only(softmax(kLogits), {6, 0, 2, 5, 4, 7}));
  p.temperature = 0;
  expect_distribution(p, kLogits, only(softmax(kLogits), {6}));
  p = neutral();
  p.logit_bias = {{1, -INFINITY}, {7, 4.0F}};
  auto biased = kLogits;
  biased[7] += 4;
  expect_distribution(p, kLogits, only(softmax(biased), {0, 2, 3, 4, 5, 6, 7}));
  p = neutral();
  p.repeat_penalty = 2;  // of the context {1, 2, 3}
  p.presence_penalty = 0.25F;
  p.frequency_penalty = 0.5F;
  auto penalised = kLogits;
  for (const size_t i : {1, 2, 3}) penalised[i] = penalised[i] / 2 - 0.75F;
  expect_distribution(p, kLogits, softmax(penalised));
}

TEST(Draws, XtcActsWithItsProbability) {
  SamplingParams p = neutral();
  p.xtc_probability = 0.25F;
  p.xtc_threshold = 0.15F;
  const auto all = softmax(kLogits);
  const auto cut = only(all, {6, 0, 2, 5, 4, 7});
  std::vector<double> mixed;
  for (size_t i = 0; i < all.size(); ++i) mixed.push_back(0.75 * all[i] + 0.25 * cut[i]);
  expect_distribution(p, kLogits, mixed);
}

TEST(Draws, TheOrderOfTheChainMatters) {
  SamplingParams p = neutral();
  p.temperature = 4;
  p.min_p = 0.5F;
  p.samplers = {"min_p", "temperature"};
  expect_distribution(p, kLogits, only(softmax(kLogits, 4), {1, 3}));
  p.samplers = {"temperature", "min_p"};
  expect_distribution(p, kLogits, only(softmax(kLogits, 4), {1, 3, 6, 0, 2, 5}));
  p.samplers = {"min_p"};  // a sampler that is not named does not run
  expect_distribution(p, kLogits, only(softmax(kLogits), {1, 3}));
}

TEST(Draws, GreedyTakesTheFirstBest) {
  SamplingParams p;
  p.temperature = 0;
  auto logits = random_logits(3000, 9);
  const size_t best = argmax(logits);
  expect_distribution(p, logits, only(softmax(logits), {best}));
}

TEST(Draws, MirostatSettlesAtItsTarget) {
  SamplingParams p = neutral();
  p.mirostat = 2;
  p.mirostat_tau = 3;
  SamplingChain chain(p, nullptr);
  SamplingScratch scratch;
  const auto logits = random_logits(2000, 4);
  const auto probabilities = softmax(logits);
  // The surprise that mirostat observes is that of the truncated distribution; its mean over many
  // draws is tau, by the update rule.
  double sum = 0;
  constexpr int kDraws = 4000;
  for (int i = 0; i < kDraws; ++i) {
    auto copy = logits;
    const SamplingContext at{nullptr, 0, 0, 1, static_cast<uint64_t>(i)};
    const TokenId id = chain.draw(copy, at, {}, scratch);
    for (const Candidate& c : scratch.candidates.list()) {
      if (c.id == id) sum -= std::log2(static_cast<double>(c.probability));
    }
  }
  EXPECT_NEAR(sum / kDraws, 3.0, 0.1);
}

TEST(Dry, FindsTheLongestRepetition) {
  std::vector<int32_t> z;
  std::vector<DryMatch> matches;
  const std::vector<TokenId> tokens = {1, 2, 3, 9, 4, 2, 3, 8, 1, 2, 3};
  find_repetitions(tokens, 2, nullptr, z, matches);
  std::map<TokenId, int> longest;
  for (const DryMatch& m : matches) longest[m.token] = std::max(longest[m.token], m.length);
  EXPECT_EQ(longest, (std::map<TokenId, int>{{9, 3}, {8, 2}}));
  DryBreakers breakers;
  breakers.single.resize(10);
  breakers.single[1] = true;  // only 2 3 follow the breaker
  find_repetitions(tokens, 2, &breakers, z, matches);
  for (const DryMatch& m : matches) EXPECT_EQ(m.length, 2);
  breakers.single[3] = true;
  find_repetitions(tokens, 1, &breakers, z, matches);
  EXPECT_TRUE(matches.empty());
  breakers.single.assign(10, false);
  breakers.sequences[1] = {{2, 3}};  // a breaker of three tokens ends the context
  find_repetitions(tokens, 1, &breakers, z, matches);
  EXPECT_TRUE(matches.empty());
}

TEST(Validation, NamesTheField) {
  for (const Processor& processor : processors()) {
    for (const Parameter& parameter : processor.parameters) {
      EXPECT_EQ(find_parameter(parameter.name), &parameter);
      SamplingParams p;
      EXPECT_GE(parameter.get(p), parameter.minimum);
      EXPECT_LE(parameter.get(p), parameter.maximum);
      EXPECT_TRUE(validate(p, 10).ok());
      parameter.set(p, parameter.minimum - 1);
      const auto result = validate(p, 10);
      ASSERT_FALSE(result.ok()) << parameter.name;
      EXPECT_EQ(result.error().message().rfind(std::string(parameter.name), 0), 0U);
    }
  }
  for (const char* name : {"typical", "typ_p", "typical_p", "temp"}) {
    EXPECT_NE(find_processor(name), nullptr);
  }
}

TEST(Reference, ThePageIsCurrent) {
  std::ifstream file(SERVAL_SOURCE_DIR "/docs/reference/sampling.md");
  std::stringstream page;
  page << file.rdbuf();
  EXPECT_EQ(page.str(), sampling_reference())
      << "run: sampling_probe reference > docs/reference/sampling.md";
}

}  // namespace
}  // namespace serval
