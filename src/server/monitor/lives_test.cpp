#include "server/monitor/lives.h"

#include <gtest/gtest.h>

#include "server/monitor/encode.h"
#include "server/monitor/excerpt.h"
#include "server/monitor/history.h"
#include "server/monitor/rates.h"

namespace serval {
namespace {

constexpr int64_t kSecond = 1'000'000;

LifeEvent event(LifeKind kind, RequestId id, int64_t at_us, const char* tenant = "alice") {
  LifeEvent e;
  e.at_us = at_us;
  e.request = id;
  e.kind = kind;
  e.prompt_tokens = 40;
  std::copy_n(tenant, std::min<size_t>(std::char_traits<char>::length(tenant), 31),
              e.tenant.begin());
  return e;
}

StepRecord step(uint64_t number, int64_t begin_us, int64_t end_us, std::vector<StepSpan> spans) {
  StepRecord s;
  s.number = number;
  s.begin_us = begin_us;
  s.end_us = end_us;
  s.weight_bytes = 1000;
  s.macs = 2000;
  for (const StepSpan& span : spans) {
    s.rows += span.rows;
    s.decode_rows += span.kind == SpanKind::kDecode ? span.rows : 0;
  }
  s.spans = std::move(spans);
  return s;
}

void begin(Lives& lives, RequestId id, int64_t at_us) {
  lives.add(event(LifeKind::kQueued, id, at_us));
  lives.add(event(LifeKind::kBegan, id, at_us + 100));
}

TEST(Lives, AnEndInTheMicrosecondOfTheLastStepComesAfterIt) {
  const StepRecord last = step(2, 2000, 5000, {{7, 1, 40, SpanKind::kDecode}});
  EXPECT_FALSE(precedes(event(LifeKind::kEnded, 7, 5000), last));
  EXPECT_TRUE(precedes(event(LifeKind::kEnded, 7, 1999), last));
  EXPECT_TRUE(precedes(event(LifeKind::kFirstToken, 7, 5000), last));
  EXPECT_FALSE(precedes(event(LifeKind::kFirstToken, 7, 5001), last));
}

TEST(Lives, FollowsOneRequest) {
  Lives lives(250'000);
  begin(lives, 7, 1000);
  EXPECT_EQ(lives.find(7)->stage, Stage::kPrefill);
  EXPECT_EQ(lives.add(step(1, 1100, 2000, {{7, 40, 0, SpanKind::kPrefill}})), 0);
  lives.add(event(LifeKind::kFirstToken, 7, 1990));
  EXPECT_EQ(lives.add(step(2, 2000, 5000, {{7, 1, 40, SpanKind::kDecode}})), 1);
  EXPECT_EQ(lives.add(step(3, 5000, 500'000,
                           {{7, 1, 41, SpanKind::kDecode}, {8, 99, 0, SpanKind::kPrefill}})),
            1);
  const Life* l = lives.find(7);
  EXPECT_EQ(l->stage, Stage::kDecode);
  EXPECT_EQ(l->generated, 3);
  EXPECT_EQ(l->done, 40);
  EXPECT_EQ(l->late, 1);
  ASSERT_EQ(l->longest.size(), 2U);
  EXPECT_EQ(l->longest[1].length_us, 495'000);
  EXPECT_EQ(l->longest[1].others_rows, 99);
  ASSERT_EQ(l->spans.size(), 2U);  // the decodes are one
  EXPECT_EQ(l->spans[1].rows, 2);
  LifeEvent end = event(LifeKind::kEnded, 7, 500'100);
  end.outcome = LifeOutcome::kStop;
  end.completion_tokens = 3;
  lives.add(end);
  EXPECT_EQ(lives.find(7)->stage, Stage::kStop);
  EXPECT_EQ(lives.find(8), nullptr);  // a step alone makes nobody known
  EXPECT_EQ(lives.keys(kSecond).at(0).label, "alice");
  EXPECT_NEAR(*lives.ttft(kSecond)[0], 0.99, 0.15);
}

TEST(Lives, SaysWhyATokenWasLate) {
  Lives lives(1000);
  begin(lives, 1, 0);
  lives.add(event(LifeKind::kFirstToken, 1, 10));
  lives.add(event(LifeKind::kPaused, 1, 20));
  EXPECT_EQ(lives.find(1)->stage, Stage::kPaused);
  lives.add(event(LifeKind::kResumed, 1, 30));
  lives.add(step(1, 30, 40, {{1, 1, 40, SpanKind::kDecode}}));
  lives.add(step(2, 40, 50, {{1, 41, 0, SpanKind::kRecomputed}}));
  EXPECT_EQ(lives.find(1)->evictions, 1);
  lives.add(step(3, 50, 60, {{1, 1, 41, SpanKind::kRecomputed}}));
  lives.add(step(4, 60, 70, {{1, 1, 42, SpanKind::kDecode}}));
  const Life* l = lives.find(1);
  ASSERT_EQ(l->longest.size(), 3U);
  EXPECT_EQ(l->longest[0].cause, GapCause::kPaused);
  EXPECT_EQ(l->longest[1].cause, GapCause::kPreempted);
  EXPECT_EQ(l->longest[2].cause, GapCause::kStep);
  EXPECT_EQ(l->generated, 4);
}

TEST(Lives, ForgetsInTheOrderOfTheEnds) {
  Lives lives(1000);
  for (RequestId id = 1; id <= 1000; ++id) {
    begin(lives, id, static_cast<int64_t>(id));
    if (id % 2 == 0) lives.add(event(LifeKind::kEnded, id, static_cast<int64_t>(id)));
  }
  EXPECT_EQ(lives.changed_after(0).size(), 500 + Lives::kEnded);
  EXPECT_EQ(lives.find(2), nullptr);
  EXPECT_NE(lives.find(1), nullptr);
  EXPECT_NE(lives.find(1000), nullptr);
  // Nobody comes back by what is heard of it late.
  lives.add(step(1, 0, 1, {{2, 1, 40, SpanKind::kDecode}}));
  lives.add(event(LifeKind::kEnded, 2, 5));
  EXPECT_EQ(lives.find(2), nullptr);
}

TEST(Lives, KeepsItsMemoryBounded) {
  Lives lives(1000);
  for (RequestId id = 1; id <= Lives::kAlive + 100; ++id) begin(lives, id, 0);
  EXPECT_EQ(lives.changed_after(0).size(), Lives::kAlive);
  for (int i = 0; i < 5000; ++i) {
    lives.add(event(LifeKind::kQueued, Lives::kAlive + 50, 0, std::to_string(i).c_str()));
  }
  Lives one(1000);
  begin(one, 1, 0);
  one.add(event(LifeKind::kFirstToken, 1, 10));
  for (int i = 0; i < 5000; ++i) {
    const int64_t at = int64_t{i} * 2 * kSecond;
    one.add(step(static_cast<uint64_t>(i) + 1, at, at + 10, {{1, 1, 40 + i, SpanKind::kDecode}}));
  }
  EXPECT_LE(one.find(1)->spans.size(), Life::kMostSpans);
  EXPECT_TRUE(one.find(1)->spans_cut);
  EXPECT_EQ(one.find(1)->longest.size(), Life::kMostGaps);
}

// Whatever the clock does, figures stay figures.
TEST(Lives, SurvivesAClockThatJumps) {
  Lives lives(1000);
  LastSecond second;
  for (const int64_t at : {int64_t{100} * kSecond, int64_t{5}, int64_t{1} << 60, int64_t{7}}) {
    begin(lives, static_cast<RequestId>(at), at);
    lives.add(event(LifeKind::kFirstToken, static_cast<RequestId>(at), at - 3));
    const StepRecord s =
        step(1, at, at - 100, {{static_cast<RequestId>(at), 1, 40, SpanKind::kDecode}});
    second.add(s, lives.add(s));
    const Rates rates = second.at(at);
    EXPECT_GE(rates.busy, 0);
    EXPECT_LE(rates.busy, 1);
    EXPECT_TRUE(std::isfinite(rates.gbs) && rates.gbs >= 0) << rates.gbs;
    for (const auto& quantile : lives.itl(at)) EXPECT_TRUE(!quantile || *quantile >= 0);
    EXPECT_LE(lives.keys(at).at(0).share, 1);
    for (const Life* l : lives.changed_after(0)) {
      EXPECT_EQ(request_json(*l, {"", 1}, at).find("-,"), std::string::npos);
    }
  }
}

TEST(Lives, TellsAnOwnerOnlyOfItsOwn) {
  Lives lives(1000);
  for (const auto& [id, owner] : {std::pair(3, "bob"), {5, "alice"}, {6, "bob"}, {9, "alice"}}) {
    lives.add(event(LifeKind::kQueued, static_cast<RequestId>(id), 10 * id, owner));
  }
  const auto ids = [&](const char* owner) {
    std::vector<RequestId> out;
    for (const Life* l : lives.of(owner)) out.push_back(l->id);
    return out;
  };
  EXPECT_EQ(ids("alice"), (std::vector<RequestId>{5, 9}));
  EXPECT_EQ(ids("bob"), (std::vector<RequestId>{3, 6}));
  EXPECT_TRUE(ids("").empty());
  EXPECT_TRUE(ids("ali").empty());
  EXPECT_EQ(lives.find("alice", 2)->id, 9U);
  EXPECT_EQ(lives.find("alice", 3), nullptr);
  EXPECT_EQ(lives.find("alice", 0), nullptr);
  // The same to the byte, whatever others do meanwhile.
  const auto told = [&] {
    return own_json(lives.of("alice"), "alice", 500, 0) +
           request_json(*lives.find("alice", 2), {"alice", 1, Audience::kOwner}, 0);
  };
  const std::string before = told();
  for (RequestId id = 20; id < 60; ++id) {
    lives.add(event(LifeKind::kQueued, id, 400, "bob"));
    lives.add(event(LifeKind::kBegan, id, 410, "bob"));
    lives.add(step(id, 420, 430, {{id, 40, 0, SpanKind::kPrefill}}));
  }
  EXPECT_EQ(told(), before);
}

TEST(Lives, ForgetsTextsWithTheirRequest) {
  Lives lives(1000);
  lives.note_prompt(1, "early");  // before its first event
  begin(lives, 1, 100);
  EXPECT_TRUE(lives.note_answer(1, "one ", 8));
  EXPECT_FALSE(lives.note_answer(1, "two three", 8));
  EXPECT_EQ(lives.find(1)->prompt_text, "early");
  EXPECT_EQ(lives.find(1)->answer_text, "one two ");
  for (RequestId id = 1; id <= Lives::kEnded + 1; ++id) {
    begin(lives, id, 1000);
    lives.add(event(LifeKind::kEnded, id, 2000));
  }
  EXPECT_EQ(lives.find(1), nullptr);
  lives.note_prompt(1, "late");
  EXPECT_FALSE(lives.note_answer(1, "late", 8));
  EXPECT_EQ(lives.find(1), nullptr) << "it would never end";
}

TEST(Excerpt, IsOneLineOfWholeCharacters) {
  const auto excerpt = [](std::string_view text, size_t most) {
    std::string out;
    extend_excerpt(out, text, most);
    return out;
  };
  EXPECT_EQ(excerpt(" \n a\tb\r\n\x1b[1mc\x7f", 80), "a b [1mc ");
  EXPECT_EQ(excerpt("\u00e9\u00e9\u00e9", 2), "\u00e9\u00e9");
  EXPECT_EQ(excerpt("a\xff\xe2\x82z", 80), "a\ufffd\ufffdz");
  EXPECT_EQ(excerpt("x\u202ey\u2066z\u200f\u061c\ufeff\u0085w", 80), "x y z w");
  EXPECT_EQ(excerpt("\U0001f600\U0001f600", 1), "\U0001f600");
  EXPECT_EQ(excerpt("abc", 0), "");
}

TEST(TimeCounts, AreWithinTheirBuckets) {
  LargeTimeCounts counts;
  EXPECT_FALSE(counts.quantile(0.5));
  for (int i = 1; i <= 1000; ++i) counts.add(i);
  EXPECT_NEAR(*counts.quantile(0.5), 500, 60);
  EXPECT_NEAR(*counts.quantile(0.99), 990, 120);
  for (const double odd : {-1.0, 0.0, 1e300, std::nan("")}) counts.add(odd);
  EXPECT_TRUE(std::isfinite(*counts.quantile(1)));
}

TEST(Rates, AreOfTheLastSecond) {
  LastSecond second;
  for (int i = 0; i < 40; ++i) {
    const int64_t at = i * kSecond / 20;
    second.add(step(1, at, at + 25'000, {{1, 3, 0, SpanKind::kPrefill}}), 2);
  }
  const Rates rates = second.at(2 * kSecond);
  EXPECT_NEAR(rates.dec, 40, 2);
  EXPECT_NEAR(rates.pre, 60, 3);
  EXPECT_NEAR(rates.busy, 0.5, 0.03);
  EXPECT_NEAR(rates.gbs, 1000 / 25'000.0 / 1000, 1e-6);
  EXPECT_NEAR(rates.gmacs, 2 * rates.gbs, 1e-6);
  EXPECT_EQ(second.at(10 * kSecond).busy, 0);
}

TEST(Rates, CountEveryStepInOneSecond) {
  LastSecond second;
  double sum = 0;
  int tokens = 0;
  for (int i = 0; i < 100; ++i) {
    const int64_t end = i * 70'000;
    second.add(step(1, end - 30'000, end, {{1, 1, 0, SpanKind::kDecode}}), i);
    tokens += i;
    second.at(end);  // a viewer's frame
    // Seconds are asked for late, when steps of the next one are known.
    if (end % kSecond < 70'000 && end >= kSecond) sum += second.at(end / kSecond * kSecond).dec;
  }
  sum += second.at(7 * kSecond).dec;
  EXPECT_EQ(sum, tokens);
}

TEST(History, KeepsSecondsAndTens) {
  History history;
  LargeTimeCounts none;
  LargeTimeCounts some;
  some.add(20);
  for (int i = 1; i <= 5000; ++i) {
    Series values{};
    values[0] = static_cast<float>(i % 10);
    values[3] = std::nanf("");
    history.add(i * kSecond, values, none, i % 10 == 5 ? some : none, 1);
  }
  EXPECT_EQ(history.seconds(99'999).size(), History::kSeconds);
  EXPECT_EQ(history.seconds(99'999).front().end_us, (5000 - 3599) * kSecond);
  EXPECT_EQ(history.seconds(10).size(), 10U);
  const auto tens = history.tens(3);
  ASSERT_EQ(tens.size(), 3U);
  EXPECT_EQ(tens.back().end_us, 5000 * kSecond);
  EXPECT_FLOAT_EQ(tens.back().mean[0], 4.5F);
  EXPECT_FLOAT_EQ(tens.back().min[0], 0);
  EXPECT_FLOAT_EQ(tens.back().max[0], 9);
  EXPECT_TRUE(std::isnan(tens.back().mean[3]));
  EXPECT_NEAR(tens.back().latency[2], 20, 2.5);
  EXPECT_TRUE(std::isnan(tens.back().latency[0]));
  EXPECT_EQ(tens.back().evictions, 10U);
}

}  // namespace
}  // namespace serval
