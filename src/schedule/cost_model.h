// CostModel: how long a step takes, learned from the steps that were measured.
//
//   t = a + b * rows + c * (row, KV position) pairs + d * rows of logits, all >= 0
//
// A plain object; engine thread only; allocates nothing.
#pragma once

#include <array>

namespace serval {

// What a step computes, as far as its time depends on it.
struct StepLoad {
  int rows = 0;
  int logit_rows = 0;
  double attended = 0;  // KV positions read, summed over rows

  // `rows` more of one sequence, behind `past` positions.
  void add(int more, int past) {
    rows += more;
    attended += static_cast<double>(more) * (past + (more + 1) / 2.0);
  }
};

class CostModel {
 public:
  CostModel();

  double predict_us(const StepLoad& load) const;
  // Learns. Tolerates now and then a step that was held up by something else.
  void observe(const StepLoad& load, double measured_us);

  // How many rows of one sequence, behind `past` positions, can join `load` so that the whole step
  // is predicted to end within `until_us`; at most `most`.
  int rows_within(const StepLoad& load, int past, int most, double until_us) const;

 private:
  static constexpr int kTerms = 4;
  static constexpr int kClasses = 16;
  using Terms = std::array<double, kTerms>;

  // Weighted sums of the observed steps of one size.
  struct Sums {
    double samples = 0;
    std::array<Terms, kTerms> xx{};
    Terms xy{};
  };

  static Terms prior(const StepLoad& load);
  static Terms solve(std::array<Terms, kTerms> a, Terms u, const std::array<bool, kTerms>& zero);
  void fit();

  std::array<Sums, kClasses> classes_{};  // by log2(rows)
  double pace_ = 1;                       // how much slower than the prior this machine is
  bool observed_ = false;
  Terms factors_;  // a, b, c, d in units of the prior's
};

}  // namespace serval
