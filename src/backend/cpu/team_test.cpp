// The team: all items are done once, phases order memory, nobody waits for a worker that has
// nothing in its hands, exceptions come back, sleeping workers wake up.
#include "backend/cpu/team.h"

#include <gtest/gtest.h>

#include <chrono>
#include <numeric>
#include <stdexcept>

namespace serval::cpu {
namespace {

TEST(Team, EveryItemIsDoneOnceAndPhasesSeeEarlierOnes) {
  for (const int threads : {1, 2, 3, 5}) {
    Team team(threads);
    for (const int count : {1, 2, 7, 64}) {
      for (const int grain : {1, 3, 100}) {
        std::vector<int> items(static_cast<size_t>(count));
        std::vector<int> sums(static_cast<size_t>(count));
        for (int round = 1; round <= 60; ++round) {
          const auto fill = [&](int worker, int first, int end) {
            ASSERT_TRUE(worker >= 0 && worker < threads && first < end && end - first <= grain);
            for (int i = first; i < end; ++i) items[static_cast<size_t>(i)] += i;
          };
          const auto sum = [&](int, int first, int end) {
            for (int i = first; i < end; ++i) {
              sums[static_cast<size_t>(i)] = std::accumulate(items.begin(), items.end(), 0);
            }
          };
          team.run({{count, grain, fill}, {0, 1, fill}, {count, grain, sum}});
          for (const int s : sums) ASSERT_EQ(s, round * count * (count - 1) / 2);
        }
      }
    }
  }
}

// The first item that is begun waits for all the others: whoever has it counts as absent.
TEST(Team, OthersTakeTheShareOfAnAbsentWorker) {
  Team team(2);
  for (int round = 0; round < 20; ++round) {
    std::atomic<int> done{0};
    std::atomic<bool> begun{false};
    constexpr int kItems = 50;
    const auto item = [&](int, int, int) {
      if (!begun.exchange(true)) {
        while (done.load() < kItems - 1) std::this_thread::yield();
      }
      ++done;
    };
    team.run({{kItems, 1, item}});
    EXPECT_EQ(done, kItems);
  }
}

// Phases of one item end while whoever began them may still be telling the others.
TEST(Team, ShortPhasesFollowEachOther) {
  for (const int threads : {2, 3, 4}) {
    Team team(threads);
    int64_t value = 0;
    const auto add = [&](int, int, int) { ++value; };
    const Phase one(1, 1, add);
    const std::vector<Phase> many(100, one);
    for (int round = 0; round < 300; ++round) team.run(many);
    EXPECT_EQ(value, 300 * 100);
  }
}

TEST(Team, RethrowsAndGoesOn) {
  Team team(3);
  const auto broken = [](int, int first, int) {
    if (first == 1) throw std::runtime_error("disk");
  };
  EXPECT_THROW(team.run({{3, 1, broken}}), std::runtime_error);
  std::atomic<int> calls{0};
  const auto count = [&](int, int, int) { ++calls; };
  team.run({{3, 1, count}});
  EXPECT_EQ(calls, 3);
}

TEST(Team, WakesAfterSleep) {
  Team team(2);
  std::atomic<int> calls{0};
  const auto count = [&](int, int, int) { ++calls; };
  for (int i = 0; i < 3; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    team.run({{2, 1, count}, {2, 1, count}});
  }
  EXPECT_EQ(calls, 12);
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
