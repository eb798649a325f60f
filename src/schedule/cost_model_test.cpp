// The cost model against machines whose law is known.
#include "schedule/cost_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace serval {
namespace {

struct Machine {
  double a, b, c, d;
  double noise = 0;
  double us(const StepLoad& l) {
    std::normal_distribution<double> jitter;
    return (a + b * l.rows + c * l.attended + d * l.logit_rows) * std::exp(noise * jitter(random));
  }
  std::mt19937_64 random{1};
};

StepLoad decodes(int sequences, int context) {
  StepLoad load;
  for (int i = 0; i < sequences; ++i) load.add(1, context);
  load.logit_rows = sequences;
  return load;
}

StepLoad with_chunk(StepLoad load, int rows, int past) {
  load.add(rows, past);
  return load;
}

double relative_error(const CostModel& model, Machine machine, const StepLoad& load) {
  machine.noise = 0;
  const double truth = machine.us(load);
  return std::abs(model.predict_us(load) - truth) / truth;
}

void live(CostModel& model, Machine& machine, int steps) {
  std::mt19937_64 random(2);
  const auto between = [&](int a, int b) {
    return a + static_cast<int>(random() % static_cast<uint64_t>(b - a + 1));
  };
  for (int i = 0; i < steps; ++i) {
    StepLoad load = decodes(between(0, 8), between(10, 3000));
    if (load.rows == 0 || i % 3 == 0) load = with_chunk(load, between(8, 500), between(0, 2000));
    model.observe(load, machine.us(load));
  }
}

TEST(CostModel, LearnsTheLawOfAnyMachine) {
  for (Machine machine : {Machine{12000, 1300, 0.003, 300, 0.05},
                          Machine{90000, 9000, 0.02, 1500, 0.1}, Machine{300, 2, 0.0001, 5, 0.1}}) {
    CostModel model;
    live(model, machine, 300);
    EXPECT_LT(relative_error(model, machine, decodes(1, 500)), 0.1);
    EXPECT_LT(relative_error(model, machine, decodes(8, 2000)), 0.1);
    EXPECT_LT(relative_error(model, machine, with_chunk(decodes(4, 500), 128, 1000)), 0.1);
    EXPECT_LT(relative_error(model, machine, with_chunk({}, 512, 0)), 0.1);
  }
}

TEST(CostModel, IsSaneFromTheFirstStepOn) {
  Machine machine{12000, 1300, 0.003, 300, 0};
  CostModel model;
  EXPECT_GT(model.predict_us(decodes(1, 100)), 0);
  const StepLoad prompt = with_chunk({}, 200, 0);
  model.observe(prompt, machine.us(prompt));
  EXPECT_LT(relative_error(model, machine, prompt), 0.01);
  EXPECT_LT(relative_error(model, machine, decodes(1, 200)), 1.0);
  EXPECT_LT(relative_error(model, machine, with_chunk({}, 64, 0)), 0.5);
}

TEST(CostModel, AnHourOfDecodingDoesNotEraseWhatPromptsCost) {
  Machine machine{12000, 1300, 0.003, 300, 0.05};
  CostModel model;
  live(model, machine, 200);
  for (int i = 0; i < 100000; ++i) {
    const StepLoad load = decodes(4, 500);
    model.observe(load, machine.us(load));
  }
  EXPECT_LT(relative_error(model, machine, with_chunk(decodes(4, 500), 128, 1000)), 0.15);
}

TEST(CostModel, AStepThatWasHeldUpChangesLittle) {
  Machine machine{12000, 1300, 0.003, 300, 0.02};
  CostModel model;
  live(model, machine, 300);
  const StepLoad load = with_chunk(decodes(4, 500), 128, 1000);
  model.observe(load, 100 * machine.us(load));
  EXPECT_LT(relative_error(model, machine, load), 0.25);
}

TEST(CostModel, FollowsAMachineThatBecomesSlower) {
  Machine machine{12000, 1300, 0.003, 300, 0.02};
  CostModel model;
  live(model, machine, 300);
  Machine slower{48000, 5200, 0.012, 1200, 0.02};
  live(model, slower, 600);
  EXPECT_LT(relative_error(model, slower, with_chunk(decodes(4, 500), 128, 1000)), 0.15);
}

TEST(CostModel, NeverPredictsThatMoreWorkTakesLessTime) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 50; ++round) {
    CostModel model;
    for (int i = 0; i < 60; ++i) {  // times that follow no law at all
      const StepLoad load = with_chunk(decodes(static_cast<int>(random() % 9), 100),
                                       1 + static_cast<int>(random() % 300), 50);
      model.observe(load, 1.0 + static_cast<double>(random() % 1000000));
    }
    double before = 0;
    for (int rows = 1; rows <= 512; ++rows) {
      const double us = model.predict_us(with_chunk({}, rows, 100));
      EXPECT_TRUE(std::isfinite(us));
      EXPECT_GE(us, before);
      before = us;
    }
  }
}

TEST(CostModel, RowsWithinABudget) {
  Machine machine{12000, 1300, 0.003, 300, 0};
  CostModel model;
  live(model, machine, 300);
  const StepLoad load = decodes(4, 500);
  const int rows = model.rows_within(load, 1000, 512, 250000);
  EXPECT_LE(model.predict_us(with_chunk(load, rows, 1000)), 250000);
  EXPECT_GT(model.predict_us(with_chunk(load, rows + 1, 1000)), 250000);
  EXPECT_NEAR(rows, (250000 - 12000 - 4 * 1600) / 1303.0, 12);
  EXPECT_EQ(model.rows_within(load, 1000, 20, 250000), 20);
  EXPECT_EQ(model.rows_within(load, 1000, 512, 1000), 0);
  EXPECT_EQ(model.rows_within(load, 0, 512, INFINITY), 512);
}

}  // namespace
}  // namespace serval
