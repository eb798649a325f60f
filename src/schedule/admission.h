// What admission has to know beyond the blocks: who was served how much, and how long answers get.
// Plain objects; engine thread only.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

namespace serval {

// Equal shares between tenants: the virtual token counter of Sheng et al., "Fairness in Serving
// Large Language Models" (OSDI 2024). The tenant that was served least comes next; one that
// returns starts level with the least served of those present, so that nobody saves up.
struct Tenant {
  double served = 0;  // computed rows
  int sequences = 0;  // in the engine now
};
class FairShare {
 public:
  // A sequence of this tenant arrives, and leaves. References stay valid in between.
  Tenant& enter(const std::string& name);
  void leave(Tenant& tenant);
  size_t known() const { return tenants_.size(); }
  template <typename Visit>
  void for_each(const Visit& visit) const {
    for (const auto& [name, tenant] : tenants_) visit(name, tenant);
  }

 private:
  std::map<std::string, Tenant> tenants_;
};

// How long answers get: a quantile of the latest ones. Conservative until some were seen.
class AnswerLengths {
 public:
  AnswerLengths();
  void record(int tokens);
  // How many tokens an answer that has `tokens` already may still get, at most `most`.
  int expected_rest(int tokens, int most) const;

 private:
  std::vector<int> latest_;  // a ring
  size_t next_ = 0;
  std::vector<int> sorted_;
};

// One of the sequences that would run together.
struct Growth {
  int known = 0;   // tokens
  int blocks = 0;  // held now
  int rest = 0;    // tokens that it will still get
  int freed = 0;   // blocks of those held that become available when it ends
};
// The most blocks, beyond those held now, that are needed at any time until all have ended, when
// each gets one token per step: the peak lies just before one of them ends (the admission test of
// LightLLM). Reorders `sequences`.
int peak_growth(std::vector<Growth>& sequences);

}  // namespace serval
