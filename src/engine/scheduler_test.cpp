// The scheduler driven without model or threads, on a simulated machine with its own clock: every
// property is checked after every step, and so is the content of every KV row.
#include "engine/scheduler.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <array>
#include <map>
#include <random>

namespace serval {
namespace {

struct Spec {
  std::vector<TokenId> prompt;
  int completion = 1;
  int priority = 0;
  std::string tenant = {}, salt = {};
};

std::vector<TokenId> text(int length, int family) {
  std::vector<TokenId> out;
  for (int i = 0; i < length; ++i) out.push_back(family * 10000 + i);
  return out;
}

std::vector<TokenId> operator+(std::vector<TokenId> a, const std::vector<TokenId>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// Plays the engine: computing a row writes its token into its KV slot, choosing a token is a
// function of the sequence, and time passes by the law of a machine.
class Driver {
 public:
  Driver(SchedulerLimits limits, int blocks)
      : limits_(limits),
        blocks_(blocks),
        kv_(static_cast<size_t>(blocks)),
        scheduler(limits, blocks_, [this](BlockId from, BlockId to) {
          kv_[static_cast<size_t>(to)] = kv_[static_cast<size_t>(from)];
          ++copies;
        }) {}

  RequestId add(const Spec& spec) {
    auto s = std::make_unique<Sequence>();
    s->id = ++last_id_;
    s->tokens = spec.prompt;
    s->prompt_tokens = s->known();
    s->length_limit = s->prompt_tokens + spec.completion;
    s->at_limit = FinishReason::kLength;
    s->reuse_limit = 1 << 30;
    s->priority = spec.priority;
    s->tenant = spec.tenant;
    s->cache_salt = spec.salt;
    scheduler.add(std::move(s));
    return last_id_;
  }
  RequestId add(int prompt, int completion, int family = 0) {
    return add({text(prompt, family), completion});
  }
  // Answers were short lately, so admission expects short ones.
  void expect_short_answers() {
    for (int i = 0; i < 10; ++i) add(1, 1, 900 + i);
    run();
    ended.clear();
  }

  // Returns the rows of each sequence in this step.
  std::map<RequestId, int> step() {
    std::map<RequestId, int> rows;
    const StepPlan& plan = scheduler.plan();
    int total = 0;
    for (const PlannedSpan& span : plan.spans) {
      EXPECT_GT(span.rows, 0);
      EXPECT_LE(span.rows, span.sequence->pending());
      EXPECT_FALSE(span.sequence->paused);
      EXPECT_TRUE(rows.emplace(span.sequence->id, span.rows).second) << "two spans of one sequence";
      compute(span);
      total += span.rows;
    }
    EXPECT_EQ(total, plan.rows);
    EXPECT_LE(total, limits_.batch_tokens);
    computed += total;
    const double us = plan.rows == 0 ? 0 : step_us(plan.load);
    now_us += us;
    scheduler.commit(static_cast<int64_t>(us));
    for (const PlannedSpan& span : plan.spans) {
      Sequence& s = *span.sequence;
      served[s.tenant] += span.rows;
      if (s.pending() > 0) continue;
      if (s.known() < s.length_limit) {
        s.tokens.push_back(static_cast<TokenId>(s.id * 1000 + s.known()));
        token_times[s.id].push_back(now_us);
      }
      if (s.known() >= s.length_limit) s.finished = s.at_limit;
    }
    scheduler.sweep([&](Sequence& s) {
      ended[s.id] = s.failed ? "failed" : to_string(*s.finished);
      order.push_back(s.id);
      lengths[s.id] = s.completion_tokens();
      cached[s.id] = s.cached_tokens;
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

  int64_t worst_gap_us(RequestId id) {
    double worst = 0;
    const auto& times = token_times[id];
    for (size_t i = 1; i < times.size(); ++i) worst = std::max(worst, times[i] - times[i - 1]);
    return static_cast<int64_t>(worst);
  }

 private:
  void compute(const PlannedSpan& span) {
    const Sequence& s = *span.sequence;
    const auto slot = [&](int position) -> TokenId& {
      const auto block = static_cast<size_t>(s.blocks.at(static_cast<size_t>(position / 32)));
      return kv_[block][static_cast<size_t>(position % 32)];
    };
    for (int i = s.computed; i < s.computed + span.rows; ++i) {
      slot(i) = s.tokens[static_cast<size_t>(i)];
    }
    int wrong = 0;
    for (int i = 0; i < s.computed + span.rows; ++i) {
      wrong += slot(i) != s.tokens[static_cast<size_t>(i)] ? 1 : 0;
    }
    EXPECT_EQ(wrong, 0) << "sequence " << s.id << " reads foreign KV";
  }

  SchedulerLimits limits_;
  BlockManager blocks_;
  std::vector<std::array<TokenId, 32>> kv_;
  RequestId last_id_ = 0;

 public:
  // A small model on two cores.
  std::function<double(const StepLoad&)> step_us = [](const StepLoad& load) {
    return 12000 + 1300.0 * load.rows + 0.004 * load.attended + 300.0 * load.logit_rows;
  };
  Scheduler scheduler;
  double now_us = 0;
  int64_t computed = 0;
  int copies = 0, preemptions = 0;
  std::map<RequestId, std::string> ended;
  std::vector<RequestId> order;
  std::map<RequestId, int> lengths, cached;
  std::map<RequestId, std::vector<double>> token_times;
  std::map<std::string, int64_t> served;
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
  Driver driver({256, 8}, 8);  // 256 tokens
  driver.expect_short_answers();
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

// ---- Time

// Cell G7: four streams decode, a long prompt arrives.
TEST(Scheduler, ALongPromptDoesNotFreezeTheStreams) {
  for (const double pace : {1.0, 3.0}) {  // a small model, and one three times as slow
    Driver driver({512, 16, 250'000}, 400);
    driver.step_us = [pace](const StepLoad& load) {
      return pace * (12000 + 1300.0 * load.rows + 0.004 * load.attended + 300.0 * load.logit_rows);
    };
    std::vector<RequestId> streams;
    for (int i = 0; i < 4; ++i) streams.push_back(driver.add(100, 400, i));
    for (int i = 0; i < 20; ++i) driver.step();
    const double arrived = driver.now_us;
    const RequestId newcomer = driver.add(2600, 4, 9);
    while (driver.ended.count(newcomer) == 0) driver.step();
    for (const RequestId id : streams) EXPECT_LE(driver.worst_gap_us(id), 1.5 * 250'000) << pace;
    // Alone it would take 2600 rows; beside four streams not much more.
    const double alone = pace * (2600 * 1300.0 + 0.004 * 2600 * 1300);
    EXPECT_LE(driver.token_times[newcomer].front() - arrived, 1.5 * alone) << pace;
  }
}

TEST(Scheduler, APromptAlwaysAdvancesEvenWhenDecodesTakeAllTheTime) {
  Driver driver({512, 16, 1}, 100);
  driver.add(10, 300, 1);
  driver.step();
  const RequestId prefill = driver.add(100, 1, 2);
  for (int i = 0; i < 12; ++i) EXPECT_EQ(driver.step().at(prefill), Scheduler::kLeastChunk);
}

TEST(Scheduler, AShortPromptPassesALongOne) {
  Driver driver({512, 16, 250'000}, 400);
  driver.add(50, 400, 1);
  driver.step();
  const RequestId first = driver.add(3000, 1, 2);
  const RequestId second = driver.add(2900, 1, 3);
  const RequestId third = driver.add(2800, 1, 4);
  for (int i = 0; i < 3; ++i) driver.step();
  const RequestId small = driver.add(60, 1, 5);
  driver.step();
  driver.step();
  EXPECT_EQ(driver.ended.count(small), 1U);
  driver.run();
  for (const RequestId id : {first, second, third}) EXPECT_EQ(driver.ended[id], "length");
}

// ---- Prefixes

TEST(Scheduler, EqualPromptsAreComputedOnceButForTheirLastToken) {
  for (const int length : {20, 100, 96, 600}) {
    Driver driver({256, 16}, 300);
    for (int i = 0; i < 4; ++i) driver.add(length, 2, 1);
    driver.run();
    EXPECT_EQ(driver.computed, length + 3 + 4) << length;  // each decodes one row, too
    for (RequestId id = 2; id <= 4; ++id) EXPECT_EQ(driver.cached[id], length - 1);
  }
}

// Cell G5: eight system prompts, 128 requests, four clients.
TEST(Scheduler, SharedPrefixesAreComputedOnce) {
  Driver driver({512, 16, 250'000}, 2000);
  std::mt19937_64 random(1);
  int64_t unique = 0;
  std::map<size_t, bool> begun;
  int added = 0;
  while (added < 128 || !driver.scheduler.idle()) {
    while (added < 128 && driver.scheduler.running() + driver.scheduler.waiting() < 4) {
      const size_t which = random() % 8;
      const int tail = 40 + static_cast<int>(random() % 50);
      unique += tail + (begun[which] ? 0 : 1000);
      begun[which] = true;
      driver.add({text(1000, static_cast<int>(which)) + text(tail, 100 + added), 20});
      ++added;
    }
    driver.step();
  }
  const int64_t prompt_rows = driver.computed - 128 * 19;  // the last token needs no row
  EXPECT_LE(static_cast<double>(prompt_rows), 1.0 * static_cast<double>(unique));
}

TEST(Scheduler, TenantsAndSaltsDoNotShareUnlessAllowed) {
  for (const bool share : {false, true}) {
    Driver driver({256, 16, 250'000, share}, 100);
    driver.add({text(100, 1), 1, 0, "ann"});
    driver.run();
    const RequestId other = driver.add({text(100, 1), 1, 0, "ben"});
    const RequestId same = driver.add({text(100, 1), 1, 0, "ann"});
    const RequestId salted = driver.add({text(100, 1), 1, 0, "ann", "salt"});
    driver.run();
    EXPECT_EQ(driver.cached[other], share ? 96 : 0);
    EXPECT_EQ(driver.cached[same], 96);
    EXPECT_EQ(driver.cached[salted], 0);
  }
}

// ---- Order

TEST(Scheduler, TenantsGetEqualSharesOfTheRows) {
  Driver driver({128, 8}, 400);
  driver.expect_short_answers();
  for (int i = 0; i < 300; ++i) driver.add({text(100, i), 10, 0, "flood"});
  int family = 1000;
  driver.served.clear();
  for (int i = 0; i < 400; ++i) {  // two calm tenants: one request each at a time
    int ann = 0;
    int ben = 0;
    driver.scheduler.for_each([&](const Sequence& s) {
      ann += s.tenant == "ann" ? 1 : 0;
      ben += s.tenant == "ben" ? 1 : 0;
    });
    for (; ann < 3; ++ann) driver.add({text(100, family++), 10, 0, "ann"});
    for (; ben < 3; ++ben) driver.add({text(200, family++), 10, 0, "ben"});
    driver.step();
    if (driver.served["flood"] > 20000) break;
  }
  const auto share = [&](const char* tenant) {
    const int64_t all = driver.served["flood"] + driver.served["ann"] + driver.served["ben"];
    return static_cast<double>(driver.served[tenant]) / static_cast<double>(all);
  };
  for (const char* tenant : {"flood", "ann", "ben"})
    EXPECT_NEAR(share(tenant), 1.0 / 3, 0.06) << tenant;
}

TEST(Scheduler, ATenantCannotGainByPriority) {
  Driver driver({128, 4}, 400);
  for (int i = 0; i < 50; ++i) driver.add({text(100, i), 10, 100, "pushy"});
  for (int i = 0; i < 50; ++i) driver.add({text(100, 100 + i), 10, 0, "calm"});
  for (int i = 0; i < 150; ++i) driver.step();
  EXPECT_NEAR(
      static_cast<double>(driver.served["calm"]) / static_cast<double>(driver.served["pushy"]), 1.0,
      0.25);
}

TEST(Scheduler, HigherPrioritiesAreAdmittedFirst) {
  Driver driver({64, 1}, 100);
  driver.add(10, 20, 50);
  driver.step();
  std::vector<RequestId> ids;
  for (const int priority : {-100, 0, 100, 50}) {
    ids.push_back(driver.add({text(20, priority + 200), 2, priority}));
  }
  driver.run();
  EXPECT_EQ(std::vector(driver.order.end() - 4, driver.order.end()),
            (std::vector{ids[2], ids[3], ids[1], ids[0]}));
}

// The bound that scheduler.h states, under a stream of requests that are all more urgent.
TEST(Scheduler, NobodyWaitsForEver) {
  for (const int priority : {0, 100}) {
    Driver driver({64, 4}, 400);
    driver.expect_short_answers();
    const int prompt = 1000;
    int family = 1;
    for (int i = 0; i < 8; ++i) driver.add({text(5, family++), 5, priority});
    driver.step();
    const RequestId patient = driver.add({text(prompt, 0), 1});
    const auto begun = [&] {
      bool waits = false;
      driver.scheduler.for_each(
          [&](const Sequence& s) { waits = waits || (s.id == patient && s.blocks.empty()); });
      return !waits;
    };
    const size_t before = driver.ended.size();
    while (!begun()) {
      for (int i = driver.scheduler.waiting(); i < 8; ++i) {
        driver.add({text(5, family++), 5, priority});
      }
      driver.step();
      ASSERT_LT(family, 5000) << "starved";
    }
    // Those admitted before it: the ones within the bound, and those that came before.
    const auto bound = static_cast<size_t>((prompt + 64 * priority) / 32 + 8 + 4);
    EXPECT_LE(driver.ended.size() - before, bound);
    EXPECT_GT(driver.ended.size() - before, 8U);
  }
}

TEST(Scheduler, LooksPastWhatDoesNotFitButNotForEver) {
  Driver driver({64, 8}, 20);
  driver.expect_short_answers();
  driver.add(300, 200, 1);  // holds ten blocks, and more
  for (int i = 0; i < 6; ++i) driver.step();
  const RequestId big = driver.add(400, 1, 2);
  int small = 0;
  for (int i = 0; i < 60; ++i) {
    if (driver.scheduler.waiting() < 3) {
      driver.add(20, 1, 100 + small);
      ++small;
    }
    driver.step();
    EXPECT_EQ(driver.ended.count(big), 0U);
  }
  const size_t passed = driver.ended.size();
  EXPECT_GE(passed, 10U);
  // 380 tokens less are worth 12 admissions; it is passed over 16 times; then room is kept.
  EXPECT_LE(passed, 30U);
  driver.run();
  EXPECT_EQ(driver.ended[big], "length");
}

TEST(Scheduler, AdmitsWhatFitsUntilTheEnd) {
  // Answers of 100 tokens, expected as such: nobody is ever preempted, yet many run together.
  Driver driver({256, 16}, 40);
  for (int i = 0; i < 20; ++i) driver.add(30, 100, i);
  driver.run();
  driver.preemptions = 0;
  int most = 0;
  for (int i = 0; i < 40; ++i) driver.add(30, 100, 100 + i);
  while (!driver.scheduler.idle()) {
    driver.step();
    most = std::max(most, driver.scheduler.running());
  }
  EXPECT_EQ(driver.preemptions, 0);
  EXPECT_GE(most, 7);
}

// ---- Everything at once

TEST(Scheduler, InvariantsHoldForThousandsOfArrivals) {
  int preemptions = 0;
  int copies = 0;
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    std::mt19937_64 random(seed);
    const auto below = [&](int n) { return static_cast<int>(random() % static_cast<uint64_t>(n)); };
    SchedulerLimits limits{1 + below(200), 1 + below(12), 1000 * below(300), below(2) == 0};
    const int blocks = 8 + below(60);
    Driver driver(limits, blocks);
    const double noise = below(3);
    driver.step_us = [&](const StepLoad& load) {
      return (5000 + 900.0 * load.rows) * (1 + noise * below(100) / 100.0);
    };
    int added = 0;
    std::vector<RequestId> live;
    const auto each = [&](const auto& visit) { driver.scheduler.for_each(visit); };
    for (int step = 0; added < 700 || !driver.scheduler.idle(); ++step) {
      ASSERT_LT(step, 200000);
      while (added < 700 && below(3) == 0) {
        const int prefix = below(3) * 40;
        const int own = 1 + below(60);
        const int most = blocks * kBlockTokens - prefix - own;
        driver.add({text(prefix, below(3)) + text(own, below(5) == 0 ? 3 : 100 + added),
                    1 + below(std::min(most, 120)), below(201) - 100,
                    std::string(static_cast<size_t>(below(3)), 'a'), below(4) == 0 ? "salt" : ""});
        ++added;
      }
      const auto chosen = static_cast<RequestId>(1 + below(std::max(added, 1)));
      const int what = below(40);
      each([&](Sequence& s) {
        if (what == 0 && s.id == chosen) s.finished = FinishReason::kCancelled;
        if (what == 1 && s.id + 20 > chosen && s.id < chosen) s.paused = true;
        if (what >= 2 && what < 6) s.paused = s.loading = false;
        if (what == 6 && s.id == chosen && s.blocks.empty()) s.loading = true;
        if (what == 7 && s.id == chosen) s.failed = Error(ErrorCode::kInternal, "x");
      });
      bool runnable = false;
      each(
          [&](const Sequence& s) { runnable = runnable || !(s.paused || s.loading || s.ended()); });
      const int waiting = driver.scheduler.waiting();
      const size_t before = driver.ended.size();
      const auto rows = driver.step();
      // No livelock: rows are computed, or someone ended, or blocks changed hands for the next.
      if (runnable) {
        ASSERT_TRUE(!rows.empty() || driver.ended.size() > before ||
                    driver.scheduler.waiting() > waiting)
            << "seed " << seed << ", step " << step;
      }
    }
    EXPECT_EQ(driver.ended.size(), 700U);
    preemptions += driver.preemptions;
    copies += driver.copies;
  }
  EXPECT_GT(preemptions, 100);
  EXPECT_GT(copies, 100);
}

}  // namespace
}  // namespace serval
