#include "watch/word_ring.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "watch/life_ring.h"
#include "watch/step_ring.h"

namespace serval {
namespace {

TEST(WordRing, KeepsTheLastRecords) {
  WordRing<2> ring(5);
  EXPECT_EQ(ring.capacity(), 8U);
  WordRing<2>::Words w;
  EXPECT_FALSE(ring.read(0, w));
  EXPECT_FALSE(ring.read(1, w));
  for (uint64_t i = 1; i <= 20; ++i) EXPECT_EQ(ring.push({i, i * i}), i);
  EXPECT_EQ(ring.newest(), 20U);
  for (uint64_t i = 1; i <= 21; ++i) {
    const bool kept = i > 12 && i <= 20;
    ASSERT_EQ(ring.read(i, w), kept) << i;
    if (kept) {
      EXPECT_EQ(w[1], i * i);
    }
  }
}

// What a reader gets is whole, however fast it is overwritten.
TEST(WordRing, NeverShowsHalfARecord) {
  WordRing<8> ring(4);
  constexpr uint64_t kRecords = 200'000, kReads = 1000;
  std::atomic<uint64_t> seen{0};
  std::atomic<bool> broken{false};
  std::thread writer([&] {  // until the reader had its turn too, which may be late
    for (uint64_t i = 1; (i <= kRecords || seen < kReads) && !broken; ++i) {
      ring.push({i, i, i, i, i, i, i, i});
      if (i % 64 == 0) std::this_thread::yield();
    }
  });
  WordRing<8>::Words w;
  for (uint64_t newest = 0; newest < kRecords || seen < kReads; newest = ring.newest()) {
    for (uint64_t i = newest > 4 ? newest - 4 : 0; i <= newest; ++i) {
      if (!ring.read(i, w)) continue;
      ++seen;
      for (const uint64_t word : w) broken = broken || word != i;
    }
    if (broken) break;
  }
  writer.join();
  EXPECT_FALSE(broken);
  ASSERT_TRUE(ring.read(ring.newest(), w));
  EXPECT_EQ(w[7], ring.newest());
}

TEST(StepRing, GivesBackWhatWasWritten) {
  StepRing ring(8);
  for (int i = 1; i <= 5000; ++i) {
    StepRecord& r = ring.current();
    r.begin_us = int64_t{1} << 40;
    r.end_us = r.begin_us + i;
    r.predicted_us = 7;
    r.rows = i;
    r.decode_rows = 2;
    r.running = 3;
    r.waiting = 4;
    r.preempted = 5;
    r.blocks_used = 6;
    r.blocks_cached = 8;
    r.weight_bytes = uint64_t{1} << 50;
    r.kv_bytes = 9;
    r.macs = 10;
    r.spans.clear();
    for (int k = 0; k < i % 9; ++k) {
      r.spans.push_back(
          {static_cast<RequestId>(i + k), i, 1'000'000 + k, static_cast<SpanKind>(k % 4)});
    }
    ring.commit();
  }
  const auto all = ring.last(9999);
  ASSERT_EQ(all.size(), StepRing::kSteps);
  EXPECT_EQ(all.front().number, 5000 - StepRing::kSteps + 1);
  for (const StepRecord& r : all) {
    const int i = static_cast<int>(r.number);
    EXPECT_EQ(r.end_us - r.begin_us, i);
    EXPECT_EQ(r.rows, i);
    EXPECT_EQ(r.decode_rows + r.running + r.waiting + r.preempted + r.blocks_used, 20);
    EXPECT_EQ(r.blocks_cached + static_cast<int>(r.kv_bytes + r.macs) + r.predicted_us, 34);
    ASSERT_EQ(static_cast<int>(r.spans.size()), i % 9);
    for (int k = 0; k < i % 9; ++k) {
      const StepSpan& span = r.spans[static_cast<size_t>(k)];
      EXPECT_EQ(span.request, static_cast<RequestId>(i + k));
      EXPECT_EQ(span.rows, i);
      EXPECT_EQ(span.context, 1'000'000 + k);
      EXPECT_EQ(static_cast<int>(span.kind), k % 4);
    }
  }
  EXPECT_EQ(ring.after(4990, 3).front().number, 4991U);
  EXPECT_EQ(ring.after(4990, 3).size(), 3U);
  EXPECT_TRUE(ring.after(5000, 3).empty());
  EXPECT_TRUE(ring.after(99'999, 3).empty());
}

TEST(LifeRing, GivesBackWhatWasWritten) {
  LifeRing ring;
  LifeEvent e;
  e.at_us = 123;
  e.request = 9;
  e.kind = LifeKind::kEnded;
  e.outcome = LifeOutcome::kFailed;
  e.prompt_tokens = 1;
  e.cached_tokens = 2;
  e.completion_tokens = 3;
  e.preemptions = 4;
  e.tenant = {'a', 'l', 'i', 'c', 'e'};
  ring.push({});
  ring.push(e);
  const auto found = ring.after(1, 10);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].number, 2U);
  EXPECT_EQ(found[0].at_us, 123);
  EXPECT_EQ(found[0].request, 9U);
  EXPECT_EQ(found[0].kind, LifeKind::kEnded);
  EXPECT_EQ(found[0].outcome, LifeOutcome::kFailed);
  EXPECT_EQ(found[0].prompt_tokens, 1);
  EXPECT_EQ(found[0].cached_tokens, 2);
  EXPECT_EQ(found[0].completion_tokens, 3);
  EXPECT_EQ(found[0].preemptions, 4);
  EXPECT_STREQ(found[0].tenant.data(), "alice");
}

}  // namespace
}  // namespace serval
