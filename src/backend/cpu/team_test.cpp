// The team: everyone runs, barriers order memory, exceptions come back, sleeping workers wake up.
#include "backend/cpu/team.h"

#include <gtest/gtest.h>

#include <chrono>
#include <numeric>
#include <stdexcept>

namespace serval::cpu {
namespace {

TEST(Team, BarrierPublishesWhatWasWritten) {
  for (const int threads : {1, 2, 3, 5}) {
    Team team(threads);
    std::vector<int> slots(static_cast<size_t>(threads));
    std::vector<int> sums(static_cast<size_t>(threads));
    for (int round = 1; round <= 300; ++round) {
      team.run([&](int worker) {
        slots[static_cast<size_t>(worker)] = round;
        team.barrier();
        sums[static_cast<size_t>(worker)] = std::accumulate(slots.begin(), slots.end(), 0);
        team.barrier();
      });
      for (const int sum : sums) ASSERT_EQ(sum, round * threads);
    }
  }
}

TEST(Team, RethrowsAndGoesOn) {
  Team team(3);
  EXPECT_THROW(team.run([](int worker) {
    if (worker == 1) throw std::runtime_error("disk");
  }),
               std::runtime_error);
  std::atomic<int> calls{0};
  team.run([&](int) { ++calls; });
  EXPECT_EQ(calls, 3);
}

TEST(Team, WakesAfterSleep) {
  Team team(2);
  std::atomic<int> calls{0};
  for (int i = 0; i < 3; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    team.run([&](int) { ++calls; });
  }
  EXPECT_EQ(calls, 6);
}

TEST(Team, SplitsWithoutGapsOrOverlaps) {
  for (const int count : {0, 1, 5, 96}) {
    int end = 0;
    for (int worker = 0; worker < 7; ++worker) {
      const Range range = split(count, worker, 7);
      EXPECT_EQ(range.first, end);
      end = range.end;
    }
    EXPECT_EQ(end, count);
  }
}

}  // namespace
}  // namespace serval::cpu
