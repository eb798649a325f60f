// The whole engine on a real model (SERVAL_TEST_MODELS names the folder; skipped without it): one
// seeded request gives the same bytes in every company, and faults are refused with one line.
#include "serval/engine.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "engine/loader.h"

namespace serval {
namespace {

namespace fs = std::filesystem;

std::optional<std::string> model_path() {
  const char* folder = std::getenv("SERVAL_TEST_MODELS");
  if (folder == nullptr) return std::nullopt;
  const std::string path = std::string(folder) + "/smollm2-135m.gguf";
  return fs::exists(path) ? std::optional(path) : std::nullopt;
}

class RealModel : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!model_path()) GTEST_SKIP() << "SERVAL_TEST_MODELS has no smollm2-135m.gguf";
  }
  static std::unique_ptr<Engine> load(int batch_tokens = 512, int threads = 0,
                                      int64_t kv_tokens = 2048) {
    EngineConfig config;
    config.model = *model_path();
    config.threads = threads;
    config.batch_tokens = batch_tokens;
    config.context = 512;
    config.kv_tokens = kv_tokens;
    auto engine = Engine::load(config);
    EXPECT_TRUE(engine.ok()) << engine.error().what();
    return std::move(*engine);
  }
  static Request story(int seed = 11, int tokens = 20) {
    std::string text = "Once there was a lighthouse on a rock far out in the sea.";
    for (int i = 0; i < 5; ++i) text += " Every night its lamp turned " + std::to_string(i + seed);
    Request request;
    request.prompt = TextPrompt{text + ", and"};
    request.max_tokens = tokens;
    request.ignore_eos = true;  // lengths that no change of numerics touches
    request.sampling.seed = seed;
    return request;
  }
  static std::string temporary(const char* name) {
    return (fs::path(::testing::TempDir()) / (std::to_string(getpid()) + name)).string();
  }
};

TEST_F(RealModel, ASeededRequestIsTheSameInEveryCompany) {
  const std::string state = temporary("determinism.kv");
  std::vector<TokenId> expected;
  {
    auto engine = load();
    expected = generate(*engine, story()).value().tokens;
    ASSERT_EQ(expected.size(), 20U);
    const auto warm = generate(*engine, story()).value();
    EXPECT_GT(warm.finished.usage.cached_tokens, 0);
    EXPECT_EQ(warm.tokens, expected) << "cache warm";
    ASSERT_TRUE(engine->save_state(story().prompt, state).ok());
  }
  for (const int batch_tokens : {7, 64}) {
    for (const int threads : {1, 2}) {
      auto engine = load(batch_tokens, threads);
      EXPECT_EQ(generate(*engine, story()).value().tokens, expected)
          << batch_tokens << " rows per step, " << threads << " threads";
    }
  }
  {
    // A pool that makes them preempt each other, as answers were short until now.
    auto engine = load(64, 0, 640);
    std::vector<Request> requests;
    for (int seed = 20; seed < 30; ++seed) requests.push_back(story(seed, 1));
    generate_all(*engine, std::exchange(requests, {}));
    for (int seed = 8; seed < 15; ++seed) requests.push_back(story(seed, 70));
    const auto all = generate_all(*engine, requests);
    auto tokens = all[3].value().tokens;
    tokens.resize(expected.size());
    EXPECT_EQ(tokens, expected) << "among others";
    int preempted = 0;
    for (const StepRecord& step : engine->last_steps(1024)) preempted += step.preempted;
    EXPECT_GT(preempted, 0);
  }
  auto engine = load();
  const auto loaded = engine->load_state(state);
  ASSERT_TRUE(loaded.ok()) << loaded.error().what();
  const auto restored = generate(*engine, story()).value();
  EXPECT_EQ(restored.finished.usage.cached_tokens, loaded->tokens);
  EXPECT_EQ(restored.tokens, expected) << "after a snapshot load";
  EXPECT_EQ(engine->state_tokens(state).value(), engine->tokenize(story().prompt).value());
  fs::remove(state);
}

// Choices of one prompt: computed once, forked inside a block, and still the same as alone.
TEST_F(RealModel, ForksOfAPromptEqualColdRuns) {
  for (const KvStorage type : {KvStorage::kF16, KvStorage::kQ8_0}) {
    EngineConfig config;
    config.model = *model_path();
    config.context = 512;
    config.kv_tokens = 2048;
    config.kv_type = type;
    auto engine = Engine::load(config);
    ASSERT_TRUE(engine.ok()) << engine.error().what();
    std::vector<Request> requests;
    std::vector<std::vector<TokenId>> expected;
    for (uint64_t seed = 1; seed <= 4; ++seed) {
      Request request = story();
      request.sampling.seed = seed;
      Request cold = request;
      cold.use_cache = false;
      expected.push_back(generate(**engine, cold).value().tokens);
      requests.push_back(std::move(request));
    }
    const auto rows = [&] {
      int prompt_rows = 0;
      for (const StepRecord& step : (*engine)->last_steps(1024)) {
        for (const StepSpan& span : step.spans)
          prompt_rows += span.kind == SpanKind::kDecode ? 0 : span.rows;
      }
      return prompt_rows;
    };
    const int before = rows();
    const auto results = generate_all(**engine, std::move(requests));
    int prompt_tokens = 0;
    for (size_t i = 0; i < results.size(); ++i) {
      ASSERT_TRUE(results[i].ok());
      EXPECT_EQ(results[i]->tokens, expected[i]) << "choice " << i;
      prompt_tokens = results[i]->finished.usage.prompt_tokens;
    }
    EXPECT_EQ(rows() - before, prompt_tokens + 3);
  }
}

TEST_F(RealModel, SnapshotsThatDoNotFitAreRefused) {
  const std::string good = temporary("good.kv");
  const std::string bad = temporary("bad.kv");
  auto engine = load();
  ASSERT_TRUE(engine->save_state(story().prompt, good).ok());
  std::ifstream in(good, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(in)), {});
  const auto attempt = [&](std::string changed) {
    std::ofstream(bad, std::ios::binary) << changed;
    const auto result = engine->load_state(bad);
    EXPECT_FALSE(result.ok());
    return result.ok() ? ErrorCode::kInternal : result.error().code();
  };
  EXPECT_EQ(attempt(bytes.substr(0, bytes.size() / 2)), ErrorCode::kCorrupt);
  EXPECT_EQ(attempt(bytes + "x"), ErrorCode::kCorrupt);
  EXPECT_EQ(attempt("hello"), ErrorCode::kCorrupt);
  EXPECT_EQ(attempt(""), ErrorCode::kCorrupt);
  for (size_t at = 0; at < bytes.size(); at += bytes.size() / 23) {
    std::string flipped = bytes;
    flipped[at] = static_cast<char>(flipped[at] ^ 0x10);
    const ErrorCode code = attempt(flipped);
    EXPECT_TRUE(code == ErrorCode::kCorrupt || code == ErrorCode::kUnsupported) << at;
  }
  std::string version = bytes;
  version[8] = 9;
  EXPECT_EQ(attempt(version), ErrorCode::kUnsupported);
  EXPECT_EQ(engine->load_state("/nonexistent/x.kv").error().code(), ErrorCode::kNotFound);
  EXPECT_FALSE(engine->save_state(story().prompt, "/nonexistent/x.kv").ok());

  EngineConfig other;
  other.model = *model_path();
  other.context = 512;
  other.kv_type = KvStorage::kF32;
  auto f32 = Engine::load(other);
  ASSERT_TRUE(f32.ok());
  const auto refused = (*f32)->load_state(good);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message().find("KV type"), std::string::npos);
  EXPECT_EQ((*f32)->stats().kv_tokens_used, 0);

  // The blocks stay pinned until they are released.
  ASSERT_TRUE(engine->load_state(good).ok());
  EXPECT_GT(engine->stats().kv_tokens_used, 0);
  engine->release_state(good);
  EXPECT_EQ(engine->stats().kv_tokens_used, 0);
  fs::remove(good);
  fs::remove(bad);
}

TEST_F(RealModel, SinksStopThrowAndDawdleAlone) {
  auto engine = load();
  Request endless = story(1, 300);
  endless.ignore_eos = true;
  const auto stopped = generate(*engine, endless, [](std::string_view) { return false; });
  ASSERT_TRUE(stopped.ok());
  EXPECT_EQ(stopped->finished.reason, FinishReason::kCancelled);
  EXPECT_LT(stopped->tokens.size(), 300U);
  const auto thrown = generate(
      *engine, endless, [](std::string_view) -> bool { throw std::runtime_error("sink trouble"); });
  ASSERT_FALSE(thrown.ok());
  EXPECT_NE(thrown.error().message().find("sink trouble"), std::string::npos);
  // A slow sink does not slow the engine's steps.
  std::atomic<bool> finished = false;
  auto id = engine->submit(story(2, 10), [&](RequestId, const Event& event) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    if (std::holds_alternative<Finished>(event)) finished = true;
    return true;
  });
  ASSERT_TRUE(id.ok());
  EXPECT_TRUE(generate(*engine, story(3, 5)).ok());
  engine->cancel(987654321);
  engine.reset();  // delivers the last events
  EXPECT_TRUE(finished);
}

// What one request's sink was told, for a thread that waits for it.
class Told {
 public:
  EventSink sink() {
    return [this](RequestId, const Event& event) {
      const std::lock_guard lock(mutex_);
      if (std::holds_alternative<TextDelta>(event)) ++deltas_;
      if (const auto* pooled = std::get_if<Pooled>(&event)) pooled_ = pooled->values;
      if (const auto* finished = std::get_if<Finished>(&event)) finished_ = *finished;
      if (const auto* failed = std::get_if<Failed>(&event)) failed_ = failed->error;
      told_.notify_all();
      return true;
    };
  }
  Finished finished() {
    std::unique_lock lock(mutex_);
    told_.wait(lock, [&] { return finished_ || failed_; });
    if (failed_) throw *failed_;
    return *finished_;
  }
  std::vector<float> pooled() {
    finished();
    return pooled_;
  }
  void wait_for_deltas(int count) {
    std::unique_lock lock(mutex_);
    told_.wait(lock, [&] { return deltas_ >= count; });
  }
  int deltas() {
    const std::lock_guard lock(mutex_);
    return deltas_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable told_;
  int deltas_ = 0;
  std::vector<float> pooled_;
  std::optional<Finished> finished_;
  std::optional<Error> failed_;
};

TEST_F(RealModel, PausesResumesAndKeepsDeadlines) {
  auto engine = load();
  const auto expected = generate(*engine, story(1, 40)).value();
  Told paused, late;
  const RequestId id = engine->submit(story(1, 40), paused.sink()).value();
  paused.wait_for_deltas(2);
  engine->pause(id);
  engine->pause(987654321);
  EXPECT_TRUE(generate(*engine, story(2, 5)).ok());  // the pause holds from before its first step
  const int deltas = paused.deltas();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(paused.deltas(), deltas);
  EXPECT_LT(deltas, 40);
  // A paused engine sleeps, and wakes for a deadline.
  Request doomed = story(3, 300);
  doomed.ignore_eos = true;
  doomed.timeout_ms = 150;
  const RequestId other = engine->submit(doomed, late.sink()).value();
  late.wait_for_deltas(1);
  engine->pause(other);
  EXPECT_EQ(late.finished().reason, FinishReason::kCancelled);
  EXPECT_LT(late.deltas(), 300);
  engine->resume(id);
  EXPECT_EQ(paused.finished().usage.completion_tokens, expected.finished.usage.completion_tokens);
  EXPECT_EQ(engine->stats().kv_tokens_used, 0);

  EngineConfig config;
  config.model = *model_path();
  config.context = 512;
  config.max_sequences = 1;
  auto loaded = Engine::load(config);
  ASSERT_TRUE(loaded.ok());
  Engine* narrow = loaded->get();
  Request impatient = story(4, 5);
  impatient.queue_timeout_ms = 30;
  Told runs, waits;
  doomed.timeout_ms = 0;
  const RequestId first = narrow->submit(doomed, runs.sink()).value();
  ASSERT_TRUE(narrow->submit(impatient, waits.sink()).ok());
  try {
    waits.finished();
    ADD_FAILURE() << "it began although another one ran";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kDeadline);
  }
  narrow->cancel(first);
  EXPECT_EQ(runs.finished().reason, FinishReason::kCancelled);
}

TEST_F(RealModel, PoolsBesideStreamsAndRecordsItsSteps) {
  std::vector<float> expected;
  for (const int batch_tokens : {512, 7}) {
    auto engine = load(batch_tokens);
    Request endless = story(1, 300);
    endless.ignore_eos = true;
    Told stream, embedding;
    const RequestId id = engine->submit(endless, stream.sink()).value();
    stream.wait_for_deltas(1);
    Request request = story(2);
    request.pooling = Pooling::kMean;
    ASSERT_TRUE(engine->submit(request, embedding.sink()).ok());
    const std::vector<float> found = embedding.pooled();
    EXPECT_EQ(found.size(), static_cast<size_t>(engine->info().hidden_size));
    if (expected.empty()) expected = found;
    EXPECT_EQ(found, expected) << batch_tokens << " rows per step";
    stream.wait_for_deltas(stream.deltas() + 2);
    EXPECT_GE(engine->last_steps(1024).size(), 2U);  // while steps run
    engine->cancel(id);
    stream.finished();
    const EngineStats stats = engine->stats();
    EXPECT_EQ(stats.running, 0);
    EXPECT_EQ(stats.rows, [&] {
      uint64_t rows = 0;
      for (const StepRecord& step : engine->last_steps(1024)) rows += step.rows;
      return rows;
    }());
    const auto steps = engine->last_steps(3);
    ASSERT_EQ(steps.size(), 3U);
    EXPECT_EQ(steps.back().number, stats.steps);
    EXPECT_EQ(steps.back().number, steps.front().number + 2);
    EXPECT_LE(steps[0].end_us, steps[1].begin_us);
    EXPECT_EQ(steps.back().spans.at(0).request, id);
    EXPECT_EQ(steps.back().spans.at(0).kind, SpanKind::kDecode);
    EXPECT_GT(steps.back().macs, engine->info().parameters / 2);
    EXPECT_GT(steps.back().weight_bytes, engine->info().weight_bytes / 2);
    EXPECT_GT(steps.back().kv_bytes, 0U);
    EXPECT_GT(stats.step_us, 0U);
    EXPECT_LE(stats.rows_after_cancel, 1U);
  }
}

// The accounts of the operators add up to those of the steps, which come from the model's plan.
TEST_F(RealModel, AccountsForItsTimeByOperator) {
  EngineConfig config;
  config.model = *model_path();
  config.context = 512;
  auto engine = std::move(Engine::load(config).value());
  Request request;
  request.prompt = TextPrompt{"Once upon a time"};
  request.max_tokens = 8;
  ASSERT_TRUE(generate(*engine, std::move(request)).ok());
  const EngineStats stats = engine->stats();
  std::array<uint64_t, kOperators> calls{};
  uint64_t weights = 0;
  uint64_t nanoseconds = 0;
  int deepest = -1;
  for (const OperatorWork& work : engine->work()) {
    calls[static_cast<size_t>(work.op)] += work.calls;
    nanoseconds += work.nanoseconds;
    deepest = std::max(deepest, work.layer);
    if (work.op == Operator::kAttention) {
      EXPECT_GT(work.bytes, 0U);
      EXPECT_GT(work.macs, 0U);
    } else {
      weights += work.bytes;
    }
  }
  EXPECT_EQ(deepest, engine->info().layers - 1);
  EXPECT_EQ(calls[static_cast<size_t>(Operator::kHead)], stats.steps);
  for (const Operator op : {Operator::kAttentionIn, Operator::kAttention, Operator::kAttentionOut,
                            Operator::kFfnIn, Operator::kFfnOut}) {
    EXPECT_EQ(calls[static_cast<size_t>(op)], stats.steps * engine->info().layers);
  }
  EXPECT_NEAR(static_cast<double>(weights), static_cast<double>(stats.weight_bytes),
              0.01 * static_cast<double>(stats.weight_bytes));
  EXPECT_LE(nanoseconds / 1000, stats.step_us);
}

TEST_F(RealModel, RefusesBadConfigurations) {
  const auto refused = [](const std::function<void(EngineConfig&)>& change, ErrorCode code,
                          const char* word) {
    EngineConfig config;
    config.model = *model_path();
    change(config);
    auto engine = Engine::load(config);
    ASSERT_FALSE(engine.ok()) << word;
    EXPECT_EQ(engine.error().code(), code) << engine.error().what();
    EXPECT_NE(engine.error().message().find(word), std::string::npos) << engine.error().what();
    EXPECT_EQ(engine.error().message().find('\n'), std::string::npos);
  };
  refused([](EngineConfig& c) { c.model = "/nonexistent.gguf"; }, ErrorCode::kNotFound,
          "nonexistent");
  refused([](EngineConfig& c) { c.context = -1; }, ErrorCode::kInvalidArgument, "context");
  refused([](EngineConfig& c) { c.batch_tokens = 0; }, ErrorCode::kInvalidArgument, "batch_tokens");
  refused([](EngineConfig& c) { c.context = 512, c.kv_tokens = 100; }, ErrorCode::kInvalidArgument,
          "512");
  refused([](EngineConfig& c) { c.backend = "abacus"; }, ErrorCode::kNotFound, "abacus");
  refused([](EngineConfig& c) { c.context = 2000000000; }, ErrorCode::kOutOfMemory, "MB");
}

TEST(SizePool, FollowsTheRequestAndTheMachine) {
  constexpr uint64_t kMega = 1'000'000;
  PoolSizes pool = size_pool({0, 0, 8192, kMega, 4'000 * kMega});
  EXPECT_EQ(pool.blocks, 256);  // one full context fits into a quarter of the memory
  EXPECT_EQ(pool.context, 8192);
  pool = size_pool({0, 0, 131072, kMega, 4'000 * kMega});
  EXPECT_EQ(pool.blocks, 1000);
  EXPECT_EQ(pool.context, 32000);
  pool = size_pool({100, 0, 8192, kMega, 4'000 * kMega});
  EXPECT_EQ(pool.blocks, 4);
  EXPECT_EQ(pool.context, 100);
  pool = size_pool({0, 1000, 8192, kMega, 0});
  EXPECT_EQ(pool.blocks, 32);
  EXPECT_EQ(pool.context, 1024);
  EXPECT_THROW(size_pool({2000, 1000, 8192, kMega, 0}), Error);
}

}  // namespace
}  // namespace serval
