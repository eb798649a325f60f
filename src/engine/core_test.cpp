// The engine's step with a model that is a formula: what is generated must be the formula's answer,
// however requests are batched, chunked, cached, preempted or cancelled.
#include "engine/core.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "engine/allocation_hook.h"
#include "engine/fake_model.h"
#include "engine/input.h"

namespace serval {
namespace {

using fake::kEnd;
using fake::kVocab;

struct Answer {
  std::string text;
  std::vector<TokenId> tokens;
  std::vector<TokenLogprob> logprobs;
  std::optional<Started> started;
  std::vector<Progress> progress;
  std::optional<Pooled> pooled;
  std::optional<Finished> finished;
  std::optional<Error> failed;
};

// A core over the fake model with its own clock and a record of all events.
class World {
 public:
  explicit World(int blocks = 64, StepLimits limits = {64, 8, 64, 512})
      : limits_(limits),
        kv_(backend_, model.config(), KvType::kF32, blocks),
        input_(*tokenizer_, nullptr, "no template", limits.context),
        core(
            {model, backend_, kv_, limits, kVocab, {1000, 100, 10, 1, 16}},
            [this] { return ++now_us; },
            [this](const OutletPtr& outlet, Event event) { take(outlet->id, std::move(event)); },
            counters) {}

  RequestId add(Request request, RequestId id = 0) {
    if (id == 0) id = ++last_id_;
    auto sequence = input_.prepare(std::move(request), std::make_shared<Outlet>(id, nullptr), 0);
    if (!sequence) {
      answers[id].failed = sequence.error();
    } else {
      core.add(std::move(*sequence));
    }
    return id;
  }

  void run(int steps = 100000) {
    while (!core.idle() && steps-- > 0) step();
  }
  void step() {
    core.step();
    core.scheduler().check();
  }

  Answer& operator[](RequestId id) { return answers[id]; }

  // Greedy continuation by the formula alone.
  std::vector<TokenId> expected(std::vector<TokenId> tokens, int count) {
    std::vector<TokenId> out;
    while (static_cast<int>(out.size()) < count) {
      out.push_back(model.next(tokens));
      tokens.push_back(out.back());
      if (out.back() == kEnd) break;
    }
    return out;
  }

 private:
  void take(RequestId id, Event event) {
    if (muted) return;
    Answer& a = answers[id];
    EXPECT_FALSE(a.finished || a.failed) << "an event after the last one";
    if (auto* started = std::get_if<Started>(&event)) {
      EXPECT_TRUE(a.tokens.empty() && !a.started);
      a.started = *started;
    } else if (auto* delta = std::get_if<TextDelta>(&event)) {
      a.text += delta->text;
      a.tokens.insert(a.tokens.end(), delta->tokens.begin(), delta->tokens.end());
      a.logprobs.insert(a.logprobs.end(), delta->logprobs.begin(), delta->logprobs.end());
    } else if (auto* progress = std::get_if<Progress>(&event)) {
      a.progress.push_back(*progress);
    } else if (auto* pooled = std::get_if<Pooled>(&event)) {
      EXPECT_FALSE(a.pooled);
      a.pooled = *pooled;
    } else if (auto* finished = std::get_if<Finished>(&event)) {
      a.finished = *finished;
    } else if (auto* failed = std::get_if<Failed>(&event)) {
      a.failed = failed->error;
    }
  }

  StepLimits limits_;
  fake::FakeBackend backend_;

 public:
  fake::FakeModel model{kVocab};

 private:
  KvCache kv_;
  std::unique_ptr<Tokenizer> tokenizer_ = fake::byte_tokenizer();
  Input input_;
  RequestId last_id_ = 0;

 public:
  int64_t now_us = 0;  // each reading of the clock takes one
  Counters counters;
  std::map<RequestId, Answer> answers;
  bool muted = false;
  Core core;
};

std::vector<TokenId> prompt(int length, int seed = 0) {
  std::vector<TokenId> out;
  for (int i = 0; i < length; ++i) out.push_back((i * 7 + seed * 13 + i * i) % 256);
  return out;
}

Request greedy(std::vector<TokenId> tokens, int max_tokens) {
  Request request;
  request.prompt = std::move(tokens);
  request.max_tokens = max_tokens;
  request.sampling.temperature = 0;
  return request;
}

Request sampled(std::vector<TokenId> tokens, int max_tokens, uint64_t seed) {
  Request request = greedy(std::move(tokens), max_tokens);
  request.sampling.temperature = 1;
  request.sampling.seed = seed;
  return request;
}

TEST(Core, GeneratesTheFormulasAnswer) {
  for (const int rows : {1, 7, 64}) {
    World world(64, {rows, 8, rows, 512});
    const RequestId id = world.add(greedy(prompt(100), 50));
    world.run();
    const auto expected = world.expected(prompt(100), 50);
    EXPECT_EQ(world[id].tokens, expected);
    ASSERT_TRUE(world[id].finished);
    EXPECT_EQ(world[id].finished->usage.prompt_tokens, 100);
    EXPECT_EQ(world[id].finished->usage.completion_tokens, static_cast<int>(expected.size()));
  }
}

TEST(Core, ManySampledRequestsEqualThemselvesAlone) {
  std::map<int, Answer> alone;
  for (int i = 0; i < 20; ++i) {
    World world;
    const RequestId id = world.add(sampled(prompt(20 + 9 * i, i), 40, 1000 + i));
    world.run();
    alone[i] = world[id];
  }
  for (const int blocks : {26, 40, 200}) {  // the small pools preempt
    for (const int rows : {8, 33, 256}) {
      World world(blocks, {rows, 8, rows, 512});
      std::vector<RequestId> ids;
      for (int i = 0; i < 20; ++i) {
        ids.push_back(world.add(sampled(prompt(20 + 9 * i, i), 40, 1000 + i)));
      }
      world.run();
      for (int i = 0; i < 20; ++i) {
        EXPECT_EQ(world[ids[i]].tokens, alone[i].tokens) << blocks << " blocks, request " << i;
        EXPECT_EQ(world[ids[i]].text, alone[i].text);
      }
    }
  }
}

TEST(Core, PreemptionHappensAndChangesNothing) {
  World world(12, {64, 4, 64, 320});
  // Answers were short lately, so all four are admitted.
  for (int i = 0; i < 10; ++i) world.add(greedy(prompt(8, 50 + i), 1));
  world.run();
  std::vector<RequestId> ids;
  for (int i = 0; i < 4; ++i) ids.push_back(world.add(greedy(prompt(60, i), 100)));
  int preempted = 0;
  while (!world.core.idle()) {
    const int before = world.core.scheduler().waiting();
    world.step();
    preempted += world.core.scheduler().waiting() > before ? 1 : 0;
  }
  EXPECT_GT(preempted, 0);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(world[ids[i]].tokens, world.expected(prompt(60, i), 100));
  }
}

TEST(Core, TheSecondPromptComesFromTheCache) {
  World world;
  const RequestId cold = world.add(greedy(prompt(100), 5));
  world.run();
  const RequestId warm = world.add(greedy(prompt(100), 5));
  world.run();
  EXPECT_EQ(world[cold].started->cached_tokens, 0);
  EXPECT_EQ(world[warm].started->cached_tokens, 96);
  EXPECT_EQ(world[warm].tokens, world[cold].tokens);
  EXPECT_EQ(world[warm].finished->usage.cached_tokens, 96);
  // The last token of a prompt is never reused: its logits are needed.
  const RequestId exact = world.add(greedy(prompt(96), 5));
  world.run();
  EXPECT_EQ(world[exact].started->cached_tokens, 95);
  Request fresh = greedy(prompt(100), 5);
  fresh.use_cache = false;
  const RequestId uncached = world.add(std::move(fresh));
  world.run();
  EXPECT_EQ(world[uncached].started->cached_tokens, 0);
  EXPECT_EQ(world[uncached].tokens, world[cold].tokens);
}

TEST(Core, ContextFullIsAnOutcome) {
  World world(64, {64, 8, 64, 128});
  Request request = greedy(prompt(100), 0);
  request.max_tokens.reset();
  request.ignore_eos = true;
  const RequestId id = world.add(std::move(request));
  world.run();
  ASSERT_TRUE(world[id].finished);
  EXPECT_EQ(world[id].finished->reason, FinishReason::kContextFull);
  EXPECT_EQ(world[id].finished->usage.completion_tokens, 28);
}

TEST(Core, APoolThatIsTooSmallEndsAsContextFull) {
  World world(4, {64, 8, 64, 512});  // 128 tokens for a context of 512
  Request request = greedy(prompt(100), 300);
  request.ignore_eos = true;
  const RequestId a = world.add(request);
  const RequestId b = world.add(request);
  world.run();
  for (const RequestId id : {a, b}) {
    ASSERT_TRUE(world[id].finished);
    EXPECT_EQ(world[id].finished->reason, FinishReason::kContextFull);
    EXPECT_EQ(world[id].finished->usage.completion_tokens, 29);  // the last needs no KV
  }
}

TEST(Core, LengthStopTokensAndEos) {
  World world;
  const auto expected = world.expected(prompt(40), 10);
  const RequestId length = world.add(greedy(prompt(40), 3));
  Request stops = greedy(prompt(40), 10);
  stops.stop_tokens = {expected[4]};
  const RequestId stopped = world.add(stops);
  stops.min_tokens = 8;
  const RequestId later = world.add(stops);
  const RequestId nothing = world.add(greedy(prompt(40), 0));
  world.run();
  EXPECT_EQ(world[length].finished->reason, FinishReason::kLength);
  EXPECT_EQ(world[length].tokens.size(), 3U);
  EXPECT_EQ(world[stopped].finished->reason, FinishReason::kStop);
  EXPECT_EQ(world[stopped].tokens, std::vector(expected.begin(), expected.begin() + 5));
  EXPECT_GE(world[later].tokens.size(), 8U);
  EXPECT_EQ(world[nothing].finished->reason, FinishReason::kLength);
  EXPECT_TRUE(world[nothing].tokens.empty());

  world.model.on_logits = [](std::span<const TokenId> tokens, std::span<float> logits) {
    logits[static_cast<size_t>(tokens.size() == 43 ? kEnd : 'x')] = 100;
  };
  const RequestId eos = world.add(greedy(prompt(40), 10));
  Request ignore = greedy(prompt(40), 10);
  ignore.ignore_eos = true;
  const RequestId ignored = world.add(ignore);
  world.run();
  EXPECT_EQ(world[eos].finished->reason, FinishReason::kStop);
  EXPECT_EQ(world[eos].text, "xxx");
  EXPECT_EQ(world[eos].finished->usage.completion_tokens, 4);
  EXPECT_EQ(world[ignored].finished->reason, FinishReason::kLength);
  EXPECT_EQ(world[ignored].tokens.size(), 10U);
}

TEST(Core, StopStringsAcrossTokens) {
  World world;
  const std::string script = "abc: END of it";
  world.model.on_logits = [&](std::span<const TokenId> tokens, std::span<float> logits) {
    logits[static_cast<size_t>(script[(tokens.size() - 10) % script.size()])] = 100;
  };
  Request request = greedy(prompt(10), 14);
  request.stop = {"END!", "END o", "zzz"};
  const RequestId id = world.add(request);
  request.stop = {"of ita"};
  const RequestId whole = world.add(request);
  world.run();
  EXPECT_EQ(world[id].text, "abc: ");
  EXPECT_EQ(world[id].finished->reason, FinishReason::kStop);
  EXPECT_EQ(world[id].finished->stop_text, "END o");
  EXPECT_EQ(world[whole].text, script);  // what was held back comes at the end
  EXPECT_EQ(world[whole].finished->reason, FinishReason::kLength);
}

TEST(Core, CancelTakesEffectBeforeTheNextStep) {
  World world;
  Request request = greedy(prompt(40), 400);
  request.ignore_eos = true;
  const RequestId id = world.add(request);
  const RequestId other = world.add(request);
  for (int i = 0; i < 5; ++i) world.step();
  const size_t tokens = world[id].tokens.size();
  world.core.cancel(id, 0);
  EXPECT_EQ(world[id].finished->reason, FinishReason::kCancelled);
  world.core.cancel(12345, 0);
  world.run();
  EXPECT_EQ(world[id].tokens.size(), tokens);
  EXPECT_EQ(world[other].tokens.size(), 400U);
  EXPECT_EQ(world.core.blocks().referenced(), 0);
}

TEST(Core, APausedRequestGetsNoRowsAndKeepsItsKv) {
  World world;
  const RequestId id = world.add(greedy(prompt(40), 50));
  for (int i = 0; i < 5; ++i) world.step();
  const size_t tokens = world[id].tokens.size();
  const int blocks = world.core.blocks().referenced();
  world.core.pause(id, true);
  world.core.pause(12345, true);
  const RequestId other = world.add(greedy(prompt(33, 1), 20));
  while (!world.core.stalled()) world.step();
  EXPECT_TRUE(world[other].finished);
  EXPECT_EQ(world[id].tokens.size(), tokens);
  EXPECT_EQ(world.core.blocks().referenced(), blocks);
  world.core.pause(id, false);
  world.run();
  EXPECT_EQ(world[id].tokens, world.expected(prompt(40), 50));

  const RequestId gone = world.add(greedy(prompt(40), 50));
  world.step();
  world.core.pause(gone, true);
  world.core.cancel(gone, 0);
  EXPECT_EQ(world[gone].finished->reason, FinishReason::kCancelled);
  EXPECT_TRUE(world.core.idle());
}

TEST(Core, PausedRequestsDoNotKeepOthersOut) {
  for (const int blocks : {8, 64}) {  // 8: KV blocks are short; 64: places are
    World world(blocks, {64, 2, 64, 256});
    std::vector<RequestId> ids;
    for (int i = 0; i < 5; ++i) ids.push_back(world.add(greedy(prompt(60, i), 60)));
    for (int i = 0; i < 4; ++i) {
      world.core.pause(ids[i], true);
      world.step();
    }
    while (!world.core.stalled()) world.step();
    EXPECT_EQ(world[ids[4]].tokens, world.expected(prompt(60, 4), 60));
    EXPECT_FALSE(world[ids[0]].finished);
    for (int i = 0; i < 4; ++i) world.core.pause(ids[i], false);
    world.run();
    for (int i = 0; i < 4; ++i) {
      EXPECT_EQ(world[ids[i]].tokens, world.expected(prompt(60, i), 60)) << i;
    }
  }
}

TEST(Core, KeepsTheLastSteps) {
  World world(200, {64, 8, 64, 8192});
  Request request = greedy(prompt(100), 5000);
  request.ignore_eos = true;
  const RequestId id = world.add(request);
  world.step();
  world.step();
  world.step();
  const auto first = world.core.steps().last(10);
  ASSERT_EQ(first.size(), 3U);
  EXPECT_EQ(first[0].number, 1U);
  EXPECT_EQ(first[0].rows, 64);
  EXPECT_EQ(first[0].decode_rows, 0);
  ASSERT_EQ(first[1].spans.size(), 1U);
  EXPECT_EQ(first[1].spans[0].request, id);
  EXPECT_EQ(first[1].spans[0].rows, 36);
  EXPECT_EQ(first[1].spans[0].context, 64);
  EXPECT_EQ(first[1].spans[0].kind, SpanKind::kPrefill);
  EXPECT_EQ(first[2].spans[0].kind, SpanKind::kDecode);
  EXPECT_EQ(first[2].decode_rows, 1);
  EXPECT_GT(first[2].end_us, first[2].begin_us);
  world.run();
  const auto all = world.core.steps().last(5000);
  ASSERT_EQ(all.size(), size_t{StepRing::kSteps});
  EXPECT_EQ(all.back().number, world.counters.steps);
  EXPECT_EQ(all.front().number, world.counters.steps - size_t{StepRing::kSteps} + 1);
  EXPECT_EQ(world.core.steps().last(2).front().number, world.counters.steps - 1);
}

TEST(Core, TellsItsProgress) {
  World world(64, {16, 8, 16, 512});
  world.add(greedy(prompt(100), 1));
  world.run();
  Request request = greedy(prompt(100), 3);
  request.prompt = prompt(100);
  request.progress = true;
  std::get<std::vector<TokenId>>(request.prompt)[64] = 3;
  const RequestId id = world.add(request);
  world.run();
  const auto& progress = world[id].progress;
  ASSERT_EQ(progress.size(), 3U);  // 64 cached tokens, then 36 in steps of 16
  for (size_t i = 0; i < progress.size(); ++i) {
    EXPECT_EQ(progress[i].computed, std::min(100, 64 + 16 * static_cast<int>(i + 1)));
    EXPECT_EQ(progress[i].prompt_tokens, 100);
    EXPECT_EQ(progress[i].cached_tokens, 64);
    EXPECT_GT(progress[i].elapsed_ms, i == 0 ? 0 : progress[i - 1].elapsed_ms);
  }
}

TEST(Core, DeadlinesEndWhatWaitsAndWhatRuns) {
  World world(64, {64, 1, 64, 512});
  Request endless = greedy(prompt(40), 400);
  endless.ignore_eos = true;
  endless.timeout_ms = 50;
  const RequestId running = world.add(endless);
  Request impatient = greedy(prompt(40, 1), 5);
  impatient.queue_timeout_ms = 20;
  const RequestId waiting = world.add(impatient);
  Request patient = greedy(prompt(40, 2), 5);
  patient.queue_timeout_ms = INT64_MAX;
  const RequestId next = world.add(patient);
  for (int i = 0; i < 10; ++i) world.step();
  EXPECT_FALSE(world[waiting].failed);
  world.now_us = 20'000;
  world.step();
  ASSERT_TRUE(world[waiting].failed);
  EXPECT_EQ(world[waiting].failed->code(), ErrorCode::kDeadline);
  EXPECT_NE(world[waiting].failed->message().find("20 ms"), std::string::npos);
  EXPECT_FALSE(world[running].finished);
  world.core.pause(running, true);
  for (int i = 0; i < 3; ++i) world.step();  // the paused one yields its place
  const size_t tokens = world[running].tokens.size();
  EXPECT_EQ(tokens, 11U);
  world.now_us = 50'000;
  world.step();
  ASSERT_TRUE(world[running].finished);
  EXPECT_EQ(world[running].finished->reason, FinishReason::kCancelled);
  EXPECT_EQ(world[running].tokens.size(), tokens);
  world.run();
  EXPECT_EQ(world[next].tokens, world.expected(prompt(40, 2), 5));
}

TEST(Core, AStalledCoreKnowsWhenToWake) {
  World world;
  Request request = greedy(prompt(40), 5);
  request.timeout_ms = 30;
  const RequestId id = world.add(request);
  world.step();
  EXPECT_FALSE(world.core.stalled());
  world.core.pause(id, true);
  world.step();
  ASSERT_TRUE(world.core.stalled());
  EXPECT_EQ(world.core.wake_us(), 30'000);
  world.core.pause(id, false);
  EXPECT_FALSE(world.core.stalled());
}

TEST(Core, CountsWhatStepsDid) {
  World world(64, {64, 8, 64, 512});
  const RequestId id = world.add(greedy(prompt(100), 3));
  Request endless = greedy(prompt(10, 1), 400);
  endless.ignore_eos = true;
  const RequestId gone = world.add(endless);
  while (!world[id].finished) world.step();
  EXPECT_EQ(world.counters.steps, 4U);
  EXPECT_EQ(world.counters.rows, 100U + 2 + 10 + 3);
  // The first step ends within the long prompt, but the short one gets a token from it.
  EXPECT_EQ(world.counters.weight_bytes, 4 * 1100U);
  uint64_t kv = 0;
  for (const int seen : {54, 10}) kv += 10 * seen + std::min(seen, 16 + seen - 1);
  kv += 10 * 100 + std::min(100, 16 + 46 - 1) + 10 * 11 + 11;
  kv += 10 * 101 + 16 + 10 * 12 + 12;
  kv += 10 * 102 + 16 + 10 * 13 + 13;
  EXPECT_EQ(world.counters.kv_bytes, kv);
  EXPECT_GT(world.counters.step_us, 0U);
  EXPECT_EQ(world.counters.step_histogram[0], 4U);
  EXPECT_EQ(world.counters.rows_after_cancel, 0U);
  world.core.cancel(gone, world.now_us);  // after the step's end
  EXPECT_EQ(world.counters.rows_after_cancel, 0U);
  const RequestId late = world.add(endless);
  world.step();
  world.core.cancel(late, world.now_us - 3);  // while the step ran
  EXPECT_EQ(world.counters.rows_after_cancel, 10U);
  EXPECT_TRUE(world.core.idle());
}

std::vector<float> expected_pooling(const std::vector<TokenId>& tokens, Pooling pooling) {
  std::array<double, 4> sum = {};
  const size_t first = pooling == Pooling::kLast ? tokens.size() - 1 : 0;
  const size_t last = pooling == Pooling::kCls ? 0 : tokens.size() - 1;
  for (size_t p = first; p <= last; ++p) {
    const auto row = fake::FakeModel::hidden_state(std::span(tokens).first(p + 1));
    for (size_t i = 0; i < 4; ++i) sum[i] += static_cast<double>(row[i]);
  }
  std::vector<float> out;
  for (const double value : sum) {
    out.push_back(static_cast<float>(value * (1.0 / static_cast<double>(last - first + 1))));
  }
  return out;
}

TEST(Core, PoolsHiddenStatesToTheLastBitInAnyCompany) {
  for (const int blocks : {14, 64}) {  // the small pool preempts
    for (const int rows : {7, 64}) {
      World world(blocks, {rows, 6, rows, 320});
      std::vector<RequestId> streams, pooled;
      std::vector<Pooling> kinds;
      for (int i = 0; i < 12; ++i) {
        streams.push_back(world.add(greedy(prompt(30 + i, i), 60)));
        Request request;
        request.prompt = prompt(90, i / 3);
        request.pooling = std::array{Pooling::kMean, Pooling::kLast, Pooling::kCls}[i % 3];
        request.max_tokens = 100;  // means nothing here
        kinds.push_back(request.pooling);
        pooled.push_back(world.add(request));
      }
      world.run();
      for (int i = 0; i < 12; ++i) {
        EXPECT_EQ(world[streams[i]].tokens, world.expected(prompt(30 + i, i), 60));
        const Answer& answer = world[pooled[i]];
        ASSERT_TRUE(answer.pooled && answer.finished) << i;
        EXPECT_EQ(answer.pooled->values, expected_pooling(prompt(90, i / 3), kinds[i])) << i;
        EXPECT_EQ(answer.finished->reason, FinishReason::kStop);
        EXPECT_EQ(answer.finished->usage.completion_tokens, 0);
        EXPECT_TRUE(answer.tokens.empty());
        if (kinds[i] != Pooling::kLast) {
          EXPECT_EQ(answer.finished->usage.cached_tokens, 0);
        }
      }
    }
  }
}

TEST(Core, PoolingTheLastTokenStartsFromTheCache) {
  World world;
  world.add(greedy(prompt(100), 1));
  world.run();
  Request request;
  request.prompt = prompt(100);
  request.pooling = Pooling::kLast;
  const RequestId last = world.add(request);
  request.pooling = Pooling::kMean;
  const RequestId mean = world.add(request);
  world.run();
  EXPECT_EQ(world[last].finished->usage.cached_tokens, 96);
  EXPECT_EQ(world[mean].finished->usage.cached_tokens, 0);
  EXPECT_EQ(world[last].pooled->values, expected_pooling(prompt(100), Pooling::kLast));
}

TEST(Core, OneRequestsFaultIsItsOwn) {
  World world;
  struct Thrower : LogitsProcessor {
    void process(const SamplingContext& context, float*, size_t) override {
      if (context.token_count == 43) throw std::runtime_error("no thanks");
    }
  };
  struct Poisoner : LogitsProcessor {
    void process(const SamplingContext&, float* logits, size_t) override { logits[5] = NAN; }
  };
  struct WrongChoice : Sampler {
    TokenId sample(const SamplingContext&, const std::vector<Candidate>&) override { return -7; }
  };
  Request good = greedy(prompt(40), 10);
  Request throwing = good;
  throwing.sampling.logits_processor = std::make_shared<Thrower>();
  Request poisoned = good;
  poisoned.sampling.logits_processor = std::make_shared<Poisoner>();
  Request wrong = good;
  wrong.sampling.sampler = std::make_shared<WrongChoice>();
  Request banned = good;
  for (TokenId id = 0; id < kVocab; ++id) banned.sampling.logit_bias.emplace_back(id, -INFINITY);
  Request scoring = good;
  scoring.prompt_logits = [](int, const float*, int) { throw 42; };
  const RequestId g = world.add(good);
  std::vector<RequestId> bad;
  for (const Request& r : {throwing, poisoned, wrong, banned, scoring}) bad.push_back(world.add(r));
  world.run();
  EXPECT_EQ(world[g].tokens, world.expected(prompt(40), 10));
  for (const RequestId id : bad) EXPECT_TRUE(world[id].failed) << id;
  EXPECT_EQ(world[bad[0]].tokens.size(), 3U);
  EXPECT_NE(world[bad[0]].failed->message().find("no thanks"), std::string::npos);
  EXPECT_EQ(world.core.blocks().referenced(), 0);
}

TEST(Core, LogitsThatAreNotFiniteFailOneRequest) {
  World world;
  const auto victim = prompt(33, 3);
  world.model.on_logits = [&](std::span<const TokenId> tokens, std::span<float> logits) {
    if (tokens.size() == 36 && std::equal(victim.begin(), victim.end(), tokens.begin())) {
      logits[200] = NAN;
    }
  };
  const RequestId bad = world.add(greedy(victim, 10));
  const RequestId good = world.add(greedy(prompt(33, 4), 10));
  world.run();
  ASSERT_TRUE(world[bad].failed);
  EXPECT_NE(world[bad].failed->message().find("not finite"), std::string::npos);
  EXPECT_TRUE(world[good].finished);
}

TEST(Core, AFaultOfTheStepFailsWhatWasInIt) {
  World world;
  int steps = 0;
  world.model.on_forward = [&](const ForwardBatch&) {
    if (++steps == 3) throw Error(ErrorCode::kInternal, "device lost");
  };
  const RequestId a = world.add(greedy(prompt(40), 10));
  world.run();
  ASSERT_TRUE(world[a].failed);
  const RequestId b = world.add(greedy(prompt(40), 10));
  world.run();
  EXPECT_EQ(world[b].tokens, world.expected(prompt(40), 10));
}

TEST(Core, ScoresPromptPositionsOnceEach) {
  World world(8, {16, 4, 16, 256});
  world.add(greedy(prompt(100), 20));
  std::vector<int> positions;
  Request request = greedy(prompt(100), 0);
  request.prompt_logits_from = 70;
  request.prompt_logits = [&](int position, const float* logits, int vocab) {
    EXPECT_EQ(vocab, kVocab);
    const auto tokens = prompt(100);
    const auto best = std::max_element(logits, logits + vocab) - logits;
    EXPECT_EQ(best, world.model.next(std::span(tokens).first(static_cast<size_t>(position) + 1)));
    positions.push_back(position);
  };
  world.run();
  const RequestId id = world.add(request);
  world.run();
  EXPECT_EQ(world[id].started->cached_tokens, 70);  // reuse ends before the scored positions
  std::vector<int> expected;
  for (int p = 70; p < 100; ++p) expected.push_back(p);
  EXPECT_EQ(positions, expected);
}

TEST(Core, LogprobsAreOfTheModelsOwnDistribution) {
  World world;
  Request request = greedy(prompt(40), 5);
  request.logprobs = 3;
  request.sampling.logit_bias = {{7, 100.0F}};  // chosen always, though unlikely
  const RequestId id = world.add(request);
  world.run();
  ASSERT_EQ(world[id].logprobs.size(), 5U);
  auto tokens = prompt(40);
  for (const TokenLogprob& l : world[id].logprobs) {
    EXPECT_EQ(l.id, 7);
    ASSERT_EQ(l.top.size(), 3U);
    EXPECT_EQ(l.top[0].first, world.model.next(tokens));
    EXPECT_LT(l.logprob, l.top[0].second);
    EXPECT_LE(l.top[0].second, 0);
    tokens.push_back(7);
  }
}

TEST(Core, RefusesWhatCanNeverRun) {
  World world(64, {64, 8, 64, 128});
  const auto refused = [&](const std::function<void(Request&)>& change, const char* word,
                           const char* param = nullptr) {
    Request request = greedy(prompt(20), 5);
    change(request);
    const RequestId id = world.add(std::move(request));
    ASSERT_TRUE(world[id].failed) << word;
    EXPECT_EQ(world[id].failed->code(), ErrorCode::kInvalidArgument);
    EXPECT_NE(world[id].failed->message().find(word), std::string::npos)
        << world[id].failed->message();
    EXPECT_EQ(world[id].failed->param(), param == nullptr ? word : param);
  };
  refused([](Request& r) { r.prompt = std::vector<TokenId>{}; }, "empty", "prompt");
  refused([](Request& r) { r.prompt = prompt(128); }, "128", "prompt");
  refused([](Request& r) { r.prompt = std::vector<TokenId>{1, 999}; }, "999", "prompt");
  refused([](Request& r) { r.prompt = TextPrompt{"a\xFF", false, true}; }, "UTF-8", "prompt");
  refused([](Request& r) { r.prompt = ChatPrompt{}; }, "no template", "messages");
  refused([](Request& r) { r.max_tokens = -1; }, "max_tokens");
  refused([](Request& r) { r.min_tokens = 6; }, "min_tokens");
  refused([](Request& r) { r.stop = {""}; }, "stop");
  refused([](Request& r) { r.stop.resize(17, "x"); }, "stop");
  refused([](Request& r) { r.stop_tokens = {kVocab}; }, "stop_tokens", "stop_token_ids");
  refused([](Request& r) { r.logprobs = 21; }, "logprobs");
  refused([](Request& r) { r.sampling.top_p = 2; }, "top_p");
  refused([](Request& r) { r.sampling.temperature = NAN; }, "temperature");
  refused([](Request& r) { r.sampling.samplers = {"nonsense"}; }, "nonsense", "samplers");
  refused([](Request& r) { r.sampling.logit_bias = {{kVocab, 1.0F}}; }, "logit_bias");
  refused([](Request& r) { r.priority = 101; }, "priority");
  refused([](Request& r) { r.tenant.resize(1025); }, "tenant");
  refused([](Request& r) { r.cache_salt.resize(1025); }, "cache_salt");
  refused([](Request& r) { r.queue_timeout_ms = -1; }, "queue_timeout_ms");
  refused([](Request& r) { r.timeout_ms = -1; }, "timeout_ms");
  EXPECT_TRUE(world.core.idle());
}

TEST(Core, StepsDoNotAllocateAfterWarmUp) {
  World world(64, {64, 8, 64, 512});
  for (int i = 0; i < 8; ++i) {
    Request request = sampled(prompt(40, i), 300, 5);
    request.ignore_eos = true;
    world.add(std::move(request));
  }
  for (int i = 0; i < 60; ++i) world.core.step();
  world.muted = true;
  int64_t allocations = 0;
  constexpr int kSteps = 100;
  for (int i = 0; i < kSteps; ++i) {
    serval::testing::start_counting_allocations();
    world.core.step();
    allocations += testing::stop_counting_allocations();
  }
  // What remains is the payload of the events: one vector of one token per sequence and step, and
  // now and then a text too long for a small string. A step that allocated would show 100 more.
  EXPECT_LT(allocations, kSteps * 8 + kSteps / 10);
}

}  // namespace
}  // namespace serval
