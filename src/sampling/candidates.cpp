// Selection without sorting. The k best of n logits come from one pass that keeps a heap of k; the
// row is read in runs of 64 whose maximum is a vector loop, and a run that cannot beat the worst of
// the heap is skipped whole. On trained logits nearly all runs are.
#include "sampling/candidates.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "base/check.h"

namespace serval {
namespace {

constexpr size_t kRun = 64;
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

float run_max(const float* x, size_t n) {
  float lanes[8];
  std::fill_n(lanes, 8, kMinusInfinity);
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (size_t j = 0; j < 8; ++j) lanes[j] = x[i + j] > lanes[j] ? x[i + j] : lanes[j];
  }
  float best = *std::max_element(lanes, lanes + 8);
  for (; i < n; ++i) best = std::max(best, x[i]);
  return best;
}

}  // namespace

bool all_finite(std::span<const float> logits) {
  // The exponent field of infinities and NaN is all ones: an integer test no compiler mode can
  // drop.
  uint32_t lanes[8] = {};
  const size_t n = logits.size();
  const float* x = logits.data();
  size_t i = 0;
  const auto magnitude = [&](size_t at) {
    uint32_t bits;
    std::memcpy(&bits, x + at, sizeof(bits));
    return bits & 0x7FFFFFFFU;
  };
  for (; i + 8 <= n; i += 8) {
    for (size_t j = 0; j < 8; ++j) {
      lanes[j] |= magnitude(i + j) >= 0x7F800000U ? 1U : 0U;
    }
  }
  for (; i < n; ++i) lanes[0] |= magnitude(i) >= 0x7F800000U ? 1U : 0U;
  uint32_t bad = 0;
  for (const uint32_t lane : lanes) bad |= lane;
  return bad == 0;
}

size_t argmax(std::span<const float> logits) {
  size_t best_run = 0;
  float best = kMinusInfinity;
  for (size_t i = 0; i < logits.size(); i += kRun) {
    const float top = run_max(logits.data() + i, std::min(kRun, logits.size() - i));
    if (top > best) {
      best = top;
      best_run = i;
    }
  }
  size_t i = best_run;
  while (i + 1 < logits.size() && logits[i] != best) ++i;
  return i;
}

double log_sum_exp(std::span<const float> logits) {
  const float top = run_max(logits.data(), logits.size());
  double sum = 0;
  for (const float x : logits) sum += static_cast<double>(std::exp(x - top));
  return static_cast<double>(top) + std::log(sum);
}

void select_top(std::span<const float> logits, size_t k, std::vector<Candidate>& out) {
  out.clear();
  if (k == 0) return;
  out.reserve(std::min(k, logits.size()));
  // `out` is a heap with the worst kept candidate in front.
  for (size_t i = 0; i < logits.size(); i += kRun) {
    const size_t end = std::min(logits.size(), i + kRun);
    if (out.size() == k && run_max(logits.data() + i, end - i) <= out.front().logit) continue;
    for (size_t j = i; j < end; ++j) {
      if (logits[j] == kMinusInfinity) continue;
      if (out.size() == k) {
        if (logits[j] <= out.front().logit) continue;  // an equal logit has the higher id: it loses
        std::pop_heap(out.begin(), out.end(), ranks_before);
        out.pop_back();
      }
      out.push_back({static_cast<TokenId>(j), logits[j], 0.0F});
      std::push_heap(out.begin(), out.end(), ranks_before);
    }
  }
  std::sort(out.begin(), out.end(), ranks_before);
}

void Candidates::reset(std::span<float> logits) {
  logits_ = logits;
  list_.clear();
  dense_ = true;
  sorted_ = false;
}

std::vector<Candidate>& Candidates::list() {
  if (dense_) {
    list_.clear();
    list_.reserve(logits_.size());
    for (size_t i = 0; i < logits_.size(); ++i) {
      if (logits_[i] != kMinusInfinity) {
        list_.push_back({static_cast<TokenId>(i), logits_[i], 0.0F});
      }
    }
    dense_ = false;
    sorted_ = false;
  }
  return list_;
}

float Candidates::max_logit() {
  if (dense_) return run_max(logits_.data(), logits_.size());
  if (list_.empty()) return kMinusInfinity;
  if (sorted_) return list_.front().logit;
  return std::min_element(list_.begin(), list_.end(), ranks_before)->logit;
}

void Candidates::sort_first(size_t count) {
  list();
  if (sorted_) return;
  count = std::min(count, list_.size());
  const auto middle = list_.begin() + static_cast<std::ptrdiff_t>(count);
  if (count < list_.size()) std::nth_element(list_.begin(), middle, list_.end(), ranks_before);
  std::sort(list_.begin(), middle, ranks_before);
  sorted_ = count == list_.size();
}

void Candidates::keep_top(size_t count) {
  if (dense_ && count < logits_.size() / 8) {
    select_top(logits_, count, list_);
    dense_ = false;
  } else {
    sort_first(count);
    if (count < list_.size()) list_.resize(count);
  }
  sorted_ = true;
}

void Candidates::keep_first(size_t count) {
  SERVAL_CHECK(!dense_);
  if (count < list_.size()) list_.resize(count);
}

void Candidates::keep_above(float logit, size_t min_keep) {
  if (dense_) {
    list_.clear();
    for (size_t i = 0; i < logits_.size(); i += kRun) {
      const size_t end = std::min(logits_.size(), i + kRun);
      if (!(run_max(logits_.data() + i, end - i) >= logit)) continue;
      for (size_t j = i; j < end; ++j) {
        if (logits_[j] >= logit && logits_[j] != kMinusInfinity) {
          list_.push_back({static_cast<TokenId>(j), logits_[j], 0.0F});
        }
      }
    }
    if (list_.size() < min_keep) {
      keep_top(min_keep);
      return;
    }
    dense_ = false;
    sorted_ = false;
    return;
  }
  const auto above = static_cast<size_t>(std::count_if(
      list_.begin(), list_.end(), [&](const Candidate& c) { return c.logit >= logit; }));
  if (above < min_keep) {
    keep_top(min_keep);
    return;
  }
  std::erase_if(list_, [&](const Candidate& c) { return !(c.logit >= logit); });
}

void Candidates::scale(float factor) {
  if (dense_) {
    for (float& x : logits_) x *= factor;
  } else {
    for (Candidate& c : list_) c.logit *= factor;
  }
}

void Candidates::softmax() {
  list();
  const float top = max_logit();
  double sum = 0;
  for (Candidate& c : list_) {
    c.probability = std::exp(c.logit - top);
    sum += static_cast<double>(c.probability);
  }
  const auto inverse = static_cast<float>(1.0 / sum);
  for (Candidate& c : list_) c.probability *= inverse;
}

}  // namespace serval
