#include "schedule/admission.h"

#include <gtest/gtest.h>

#include <random>

namespace serval {
namespace {

TEST(FairShare, WhoReturnsStartsLevel) {
  FairShare share;
  Tenant& ann = share.enter("ann");
  ann.served = 1000;
  Tenant& ben = share.enter("ben");
  EXPECT_EQ(ben.served, 1000);  // has no claim to the past
  ben.served = 5000;
  share.leave(ben);
  EXPECT_EQ(share.enter("ben").served, 5000);  // and leaving does not forgive
  share.leave(ben);
  share.leave(ann);
  EXPECT_EQ(share.enter("cy").served, 0);  // nobody was there: everybody starts anew
  EXPECT_EQ(share.known(), 1U);
}

TEST(FairShare, ForgetsWhoIsOwedNothing) {
  FairShare share;
  Tenant& stays = share.enter("stays");
  for (int i = 0; i < 1000; ++i) {
    Tenant& t = share.enter("key " + std::to_string(i));
    t.served += 1;
    stays.served += 1;
    share.leave(t);
  }
  EXPECT_LT(share.known(), 4U);
}

TEST(AnswerLengths, IsConservativeThenLearns) {
  AnswerLengths lengths;
  EXPECT_EQ(lengths.expected_rest(0, 4000), 512);
  EXPECT_EQ(lengths.expected_rest(700, 4000), 700);
  EXPECT_EQ(lengths.expected_rest(0, 100), 100);
  for (int i = 1; i <= 1000; ++i) lengths.record(i % 100 + 1);  // 1 .. 100
  EXPECT_NEAR(lengths.expected_rest(0, 4000), 80, 8);
  EXPECT_NEAR(lengths.expected_rest(50, 4000), 40, 6);
  EXPECT_EQ(lengths.expected_rest(200, 4000), 132);
  for (int i = 0; i < 128; ++i) lengths.record(1000);
  EXPECT_EQ(lengths.expected_rest(0, 4000), 1000);
}

// The peak against a walk through every step.
TEST(PeakGrowth, IsWhatASimulationNeeds) {
  std::mt19937_64 random(1);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<uint64_t>(n)); };
  for (int round = 0; round < 300; ++round) {
    std::vector<Growth> all(static_cast<size_t>(1 + below(8)));
    for (Growth& s : all) {
      s.known = 1 + below(300);
      s.blocks = (s.known + 31) / 32 - (below(3) == 0 ? 1 : 0);
      s.rest = below(200);
      s.freed = below(s.blocks + 1);
    }
    int walked = -1000;
    for (int step = 0; step < 200; ++step) {
      int needed = 0;
      bool any = false;
      for (const Growth& s : all) {
        any = any || step <= s.rest;
        needed += step <= s.rest ? (s.known + step + 31) / 32 - s.blocks : -s.freed;
      }
      if (any) walked = std::max(walked, needed);
    }
    EXPECT_EQ(peak_growth(all), walked);
  }
}

}  // namespace
}  // namespace serval
