// The scheduler driven without model, clock or threads: every property is checked after every step.
#include "engine/scheduler.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <map>

namespace serval {
namespace {

// Plays the engine: computes by counting, chooses a token that depends on the sequence only.
class Driver {
 public:
  Driver(SchedulerLimits limits, int blocks)
      : limits_(limits), blocks_(blocks), scheduler(limits, blocks_) {}

  RequestId add(int prompt, int completion, int family = 0) {
    auto s = std::make_unique<Sequence>();
    s->id = ++last_id_;
    for (int i = 0; i < prompt; ++i) s->tokens.push_back(family * 10000 + i);
    s->prompt_tokens = prompt;
    s->length_limit = prompt + completion;
    s->at_limit = FinishReason::kLength;
    s->reuse_limit = 1 << 30;
    scheduler.add(std::move(s));
    return last_id_;
  }

  // Returns the rows of each sequence in this step.
  std::map<RequestId, int> step() {
    std::map<RequestId, int> rows;
    const StepPlan& plan = scheduler.plan();
    int total = 0;
    for (const PlannedSpan& span : plan.spans) {
      EXPECT_GT(span.rows, 0);
      EXPECT_LE(span.rows, span.sequence->pending());
      EXPECT_TRUE(rows.emplace(span.sequence->id, span.rows).second) << "two spans of one sequence";
      // The planned rows have blocks.
      EXPECT_GE(static_cast<int>(span.sequence->blocks.size()) * kBlockTokens,
                span.sequence->computed + span.rows);
      total += span.rows;
    }
    EXPECT_EQ(total, plan.rows);
    EXPECT_LE(total, limits_.batch_tokens);
    scheduler.commit();
    for (const PlannedSpan& span : plan.spans) {
      Sequence& s = *span.sequence;
      if (s.pending() > 0) continue;
      if (s.known() < s.length_limit)
        s.tokens.push_back(static_cast<TokenId>(s.id * 1000 + s.known()));
      if (s.known() >= s.length_limit) s.finished = s.at_limit;
    }
    scheduler.sweep([&](Sequence& s) {
      ended[s.id] = s.failed ? "failed" : to_string(*s.finished);
      lengths[s.id] = s.completion_tokens();
      preemptions += s.preemptions;
    });
    scheduler.check();
    return rows;
  }

  int run() {
    int steps = 0;
    while (!scheduler.idle()) {
      EXPECT_TRUE(!step().empty() || !ended.empty()) << "a step without rows";
      EXPECT_LT(++steps, 200000) << "no end";
      if (steps >= 200000) break;
    }
    return steps;
  }

 private:
  SchedulerLimits limits_;
  BlockManager blocks_;
  RequestId last_id_ = 0;

 public:
  Scheduler scheduler;
  std::map<RequestId, std::string> ended;
  std::map<RequestId, int> lengths;
  int preemptions = 0;
};

TEST(Scheduler, EverythingEndsUnderAnyLoad) {
  ASSERT_TRUE(rc::check("all requests end, in any pool", [] {
    const int rows = *rc::gen::inRange(1, 100);
    const int blocks = *rc::gen::inRange(8, 40);
    Driver driver({rows, *rc::gen::inRange(1, 12)}, blocks);
    const int requests = *rc::gen::inRange(1, 25);
    int added = 0;
    int steps = 0;
    while (added < requests || !driver.scheduler.idle()) {
      if (added < requests && *rc::gen::inRange(0, 3) == 0) {
        const int prompt = *rc::gen::inRange(1, 200);
        const int most = blocks * kBlockTokens - prompt;
        driver.add(prompt, *rc::gen::inRange(0, std::min(most, 150)), *rc::gen::inRange(0, 4));
        ++added;
      }
      if (driver.scheduler.idle()) continue;
      const size_t before = driver.ended.size();
      const auto computed = driver.step();
      RC_ASSERT(!computed.empty() || driver.ended.size() > before);  // no livelock
      RC_ASSERT(++steps < 100000);
    }
    RC_ASSERT(driver.ended.size() == static_cast<size_t>(requests));
    for (const auto& [id, how] : driver.ended) RC_ASSERT(how == "length");
  }));
}

TEST(Scheduler, DecodesComeBeforePrefills) {
  Driver driver({64, 8}, 100);
  const RequestId decoding = driver.add(10, 100);
  driver.step();
  const RequestId prefill = driver.add(500, 1, 1);
  for (int i = 0; i < 5; ++i) {
    const auto rows = driver.step();
    EXPECT_EQ(rows.at(decoding), 1);
    EXPECT_EQ(rows.at(prefill), 63);
  }
}

TEST(Scheduler, TwoPrefillsShareAndTheRestIsNotWasted) {
  Driver driver({64, 8}, 100);
  const RequestId longer = driver.add(500, 1, 1);
  const RequestId other = driver.add(40, 1, 2);
  auto rows = driver.step();
  EXPECT_EQ(rows.at(longer), 32);
  EXPECT_EQ(rows.at(other), 32);
  rows = driver.step();
  EXPECT_EQ(rows.at(other), 8);
  EXPECT_EQ(rows.at(longer), 56);
}

TEST(Scheduler, PreemptsTheCheapestButNeverTheOldest) {
  Driver driver({256, 8}, 8);                      // 256 tokens
  const RequestId oldest = driver.add(60, 60, 1);  // short, but oldest
  const RequestId big = driver.add(90, 60, 2);
  const RequestId small = driver.add(62, 60, 3);
  driver.run();
  EXPECT_GT(driver.preemptions, 0);
  for (const RequestId id : {oldest, big, small}) {
    EXPECT_EQ(driver.ended[id], "length");
    EXPECT_EQ(driver.lengths[id], 60);
  }
}

TEST(Scheduler, AloneAndFullIsContextFull) {
  Driver driver({64, 8}, 2);
  const RequestId id = driver.add(40, 1000);
  driver.run();
  EXPECT_EQ(driver.ended[id], "context_full");
  EXPECT_EQ(driver.lengths[id], 25);
}

TEST(Scheduler, RunsAtMostSoManySequences) {
  Driver driver({64, 3}, 100);
  for (int i = 0; i < 10; ++i) driver.add(5, 10, i);
  while (!driver.scheduler.idle()) {
    driver.step();
    EXPECT_LE(driver.scheduler.running(), 3);
  }
  EXPECT_EQ(driver.ended.size(), 10U);
}

}  // namespace
}  // namespace serval
