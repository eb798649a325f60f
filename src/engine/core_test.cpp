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
            {model, backend_, kv_, limits, kVocab}, [this] { return ++time_; },
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
  int64_t time_ = 0;
  RequestId last_id_ = 0;

 public:
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
  EXPECT_EQ(world[exact].started->cached_tokens, 64);
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
  world.core.cancel(id);
  EXPECT_EQ(world[id].finished->reason, FinishReason::kCancelled);
  world.core.cancel(12345);
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
  world.core.cancel(gone);
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

TEST(Core, KeepsTheLast1024Steps) {
  World world(64, {64, 8, 64, 2048});
  Request request = greedy(prompt(100), 1500);
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
  EXPECT_FALSE(first[1].spans[0].decode);
  EXPECT_TRUE(first[2].spans[0].decode);
  EXPECT_EQ(first[2].decode_rows, 1);
  EXPECT_GT(first[2].end_us, first[2].begin_us);
  world.run();
  const auto all = world.core.steps().last(5000);
  ASSERT_EQ(all.size(), StepLog::kSteps);
  EXPECT_EQ(all.back().number, world.counters.steps);
  EXPECT_EQ(all.front().number, world.counters.steps - StepLog::kSteps + 1);
  EXPECT_EQ(world.core.steps().last(2).front().number, world.counters.steps - 1);
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
  EXPECT_EQ(world[id].started->cached_tokens, 64);  // reuse ends before the scored positions
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
  const auto refused = [&](const std::function<void(Request&)>& change, const char* word) {
    Request request = greedy(prompt(20), 5);
    change(request);
    const RequestId id = world.add(std::move(request));
    ASSERT_TRUE(world[id].failed) << word;
    EXPECT_EQ(world[id].failed->code(), ErrorCode::kInvalidArgument);
    EXPECT_NE(world[id].failed->message().find(word), std::string::npos)
        << world[id].failed->message();
  };
  refused([](Request& r) { r.prompt = std::vector<TokenId>{}; }, "empty");
  refused([](Request& r) { r.prompt = prompt(128); }, "128");
  refused([](Request& r) { r.prompt = std::vector<TokenId>{1, 999}; }, "999");
  refused([](Request& r) { r.prompt = TextPrompt{"a\xFF", false, true}; }, "UTF-8");
  refused([](Request& r) { r.prompt = ChatPrompt{}; }, "no template");
  refused([](Request& r) { r.max_tokens = -1; }, "max_tokens");
  refused([](Request& r) { r.min_tokens = 6; }, "min_tokens");
  refused([](Request& r) { r.stop = {""}; }, "stop");
  refused([](Request& r) { r.stop.resize(17, "x"); }, "stop");
  refused([](Request& r) { r.stop_tokens = {kVocab}; }, "stop_tokens");
  refused([](Request& r) { r.logprobs = 21; }, "logprobs");
  refused([](Request& r) { r.sampling.top_p = 2; }, "top_p");
  refused([](Request& r) { r.sampling.temperature = NAN; }, "temperature");
  refused([](Request& r) { r.sampling.samplers = {"nonsense"}; }, "nonsense");
  refused([](Request& r) { r.sampling.logit_bias = {{kVocab, 1.0F}}; }, "logit_bias");
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
