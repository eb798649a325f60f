// Candidates: the tokens still in the race for one draw. It begins as a view of the model's logits
// ("dense") and becomes a list at the first step that drops tokens, so that a 262k vocabulary is
// never sorted, and usually never copied.
//
// Owner: SamplingScratch, reused for every draw: nothing allocates after the first draws.
// Engine thread only.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "serval/request.h"

namespace serval {

// Order of a sorted list: falling logit, then rising id, so that ties have one answer everywhere.
inline bool ranks_before(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

// Vector loops over a row of logits.
bool all_finite(std::span<const float> logits);
// Index of the largest value, the first one if several are equal. REQUIRES: !logits.empty()
size_t argmax(std::span<const float> logits);
// log(sum(exp(logits))), summed in double.
double log_sum_exp(std::span<const float> logits);
// The k best of a row in `ranks_before` order, -inf excluded. O(n) and one small heap.
void select_top(std::span<const float> logits, size_t k, std::vector<Candidate>& out);

class Candidates {
 public:
  // `logits` is changed by later calls and must outlive them.
  void reset(std::span<float> logits);

  bool dense() const { return dense_; }
  // REQUIRES: dense()
  std::span<float> logits() { return logits_; }
  // The tokens as a list; leaves the dense form. Impossible tokens (-inf) are left out.
  std::vector<Candidate>& list();
  // After a change of the list's logits or order outside this class.
  void mark_unsorted() { sorted_ = false; }

  float max_logit();
  void sort() { sort_first(list().size()); }
  // Puts the `count` best first, in order; the rest follows in any order.
  void sort_first(size_t count);
  void keep_top(size_t count);                    // the best `count`, sorted
  void keep_first(size_t count);                  // of the list as it stands
  void keep_above(float logit, size_t min_keep);  // logit >= `logit`, at least the best `min_keep`
  void scale(float factor);
  // Fills Candidate::probability over what is left.
  void softmax();

 private:
  std::span<float> logits_;
  std::vector<Candidate> list_;
  bool dense_ = false;
  bool sorted_ = false;
};

}  // namespace serval
