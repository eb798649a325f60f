// Everything is seen relative to a prior, whose proportions are those of a small model on a CPU: a
// step's terms are the shares of its four costs in its prior time (they sum to 1), and what is
// fitted is measured / prior time. So a decode of 10 ms counts as much as a prompt chunk of a
// second, and the four factors are of one size. The normal equations are solved anew after each
// step: four unknowns cost nothing.
//
// Old steps are forgotten exponentially, but each size of step (by powers of two) forgets only when
// a step of its own size arrives: an hour of decoding teaches nothing about prompts and must not
// erase what was known. What the data leave open is settled by a weak pull of all factors towards
// the pace of this machine, the latest ratio of measured to prior times.
//
// A negative coefficient is set to zero and the others are fitted again. A step that took more than
// three times its prediction (the process was descheduled) counts as three times; a machine that
// really became slower is still followed, within a few steps.
#include "schedule/cost_model.h"

#include <algorithm>
#include <bit>
#include <numeric>
#include <utility>

namespace serval {
namespace {

constexpr double kPull = 1e-3;         // weight of the pace, in steps
constexpr double kMemory = 32;         // steps of one size that are remembered
constexpr double kPaceRate = 0.1;      // how fast the pace follows
constexpr double kOutlier = 3;         // times the prediction
constexpr double kSamplesToJudge = 4;  // steps of a size before one of them can be an outlier

}  // namespace

CostModel::CostModel() { factors_.fill(1); }

// The prior cost of each term, in microseconds.
CostModel::Terms CostModel::prior(const StepLoad& load) {
  return {8000, 1000.0 * load.rows, 0.005 * load.attended, 500.0 * load.logit_rows};
}

double CostModel::predict_us(const StepLoad& load) const {
  const Terms x = prior(load);
  return std::inner_product(x.begin(), x.end(), factors_.begin(), 0.0);
}

void CostModel::observe(const StepLoad& load, double measured_us) {
  if (load.rows <= 0 || measured_us <= 0) return;
  const int size = std::bit_width(static_cast<unsigned>(load.rows)) - 1;
  Sums& sums = classes_[static_cast<size_t>(std::min(size, kClasses - 1))];
  if (sums.samples >= kSamplesToJudge) {
    measured_us = std::min(measured_us, kOutlier * predict_us(load));
  }
  Terms x = prior(load);
  const double prior_us = std::accumulate(x.begin(), x.end(), 0.0);
  for (double& term : x) term /= prior_us;
  const double ratio = measured_us / prior_us;
  pace_ = std::exchange(observed_, true) ? pace_ + kPaceRate * (ratio - pace_) : ratio;

  constexpr double kKeep = 1 - 1 / kMemory;
  sums.samples = kKeep * sums.samples + 1;
  for (int i = 0; i < kTerms; ++i) {
    for (int j = 0; j < kTerms; ++j) sums.xx[i][j] = kKeep * sums.xx[i][j] + x[i] * x[j];
    sums.xy[i] = kKeep * sums.xy[i] + x[i] * ratio;
  }
  fit();
}

void CostModel::fit() {
  std::array<Terms, kTerms> xx{};
  Terms xy{};
  for (int i = 0; i < kTerms; ++i) {
    for (const Sums& sums : classes_) {
      for (int j = 0; j < kTerms; ++j) xx[i][j] += sums.xx[i][j];
      xy[i] += sums.xy[i];
    }
    xx[i][i] += kPull;
    xy[i] += kPull * pace_;
  }
  std::array<bool, kTerms> zero{};
  for (int round = 0; round < kTerms; ++round) {
    factors_ = solve(xx, xy, zero);
    const auto worst = std::min_element(factors_.begin(), factors_.end());
    if (!(*worst < 0)) return;
    zero[static_cast<size_t>(worst - factors_.begin())] = true;
  }
  factors_.fill(pace_);
}

// Elimination without pivoting: the matrix is symmetric and positive definite.
CostModel::Terms CostModel::solve(std::array<Terms, kTerms> a, Terms u,
                                  const std::array<bool, kTerms>& zero) {
  for (int i = 0; i < kTerms; ++i) {
    if (!zero[i]) continue;
    for (int j = 0; j < kTerms; ++j) a[i][j] = a[j][i] = 0;
    a[i][i] = 1;
    u[i] = 0;
  }
  for (int k = 0; k < kTerms; ++k) {
    for (int i = k + 1; i < kTerms; ++i) {
      const double f = a[i][k] / a[k][k];
      for (int j = k; j < kTerms; ++j) a[i][j] -= f * a[k][j];
      u[i] -= f * u[k];
    }
  }
  for (int k = kTerms; k-- > 0;) {
    for (int j = k + 1; j < kTerms; ++j) u[k] -= a[k][j] * u[j];
    u[k] /= a[k][k];
  }
  return u;
}

int CostModel::rows_within(const StepLoad& load, int past, int most, double until_us) const {
  int fits = 0;
  for (int low = 1, high = most; low <= high;) {
    const int middle = low + (high - low) / 2;
    StepLoad with = load;
    with.add(middle, past);
    if (predict_us(with) <= until_us) {
      fits = middle;
      low = middle + 1;
    } else {
      high = middle - 1;
    }
  }
  return fits;
}

}  // namespace serval
