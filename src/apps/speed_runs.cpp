#include "apps/speed_runs.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "apps/generation.h"
#include "apps/interrupt.h"

namespace serval {
namespace {

using Clock = std::chrono::steady_clock;

// Token ids that look like nothing in particular, the same in every run; `stream` tells sequences
// apart.
std::vector<TokenId> arbitrary_tokens(int count, int vocab, uint64_t stream) {
  std::vector<TokenId> ids;
  uint64_t state = 0x9E3779B97F4A7C15ULL * (stream + 1);
  const int low = std::min(vocab / 2, 1000);  // control tokens usually come first
  for (int i = 0; i < count; ++i) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    ids.push_back(low + static_cast<int>((state >> 33) % static_cast<uint64_t>(vocab - low)));
  }
  return ids;
}

// When the tokens of several requests arrived.
struct Arrivals {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::vector<Clock::time_point>> tokens;
  size_t open = 0;
  std::optional<Error> failure;
};

Request bench_request(std::vector<TokenId> prompt, int max_tokens, bool use_cache) {
  Request request;
  request.prompt = std::move(prompt);
  request.max_tokens = max_tokens;
  request.ignore_eos = true;
  request.use_cache = use_cache;
  request.sampling.temperature = 0;
  request.sampling.repeat_penalty = 1;
  return request;
}

void stop_if_interrupted() {
  if (interrupted()) throw Error(ErrorCode::kCancelled, "interrupted");
}

}  // namespace

double prompt_rate(Engine& engine, int tokens, uint64_t stream) {
  const Request request =
      bench_request(arbitrary_tokens(tokens, engine.info().vocab_size, stream), 1, false);
  const auto start = Clock::now();
  const Answer answer = run_request(engine, request, {});
  stop_if_interrupted();
  return tokens / std::chrono::duration<double>(answer.first_token - start).count();
}

double decode_rate(Engine& engine, const SpeedRow& row) {
  const auto arrivals = std::make_shared<Arrivals>();
  arrivals->tokens.resize(static_cast<size_t>(row.batch));
  arrivals->open = static_cast<size_t>(row.batch);
  std::vector<RequestId> ids;
  for (int i = 0; i < row.batch; ++i) {
    Request request =
        bench_request(arbitrary_tokens(std::max(row.depth, 1), engine.info().vocab_size,
                                       static_cast<uint64_t>(i)),
                      row.tokens + 1, true);
    const auto sink = [arrivals, i](RequestId, const Event& event) {
      const auto now = Clock::now();
      const std::lock_guard<std::mutex> lock(arrivals->mutex);
      if (const auto* delta = std::get_if<TextDelta>(&event)) {
        auto& mine = arrivals->tokens[static_cast<size_t>(i)];
        mine.insert(mine.end(), delta->tokens.size(), now);
      } else if (!std::holds_alternative<Started>(event)) {
        if (const auto* failed = std::get_if<Failed>(&event)) arrivals->failure = failed->error;
        --arrivals->open;
        arrivals->changed.notify_all();
      }
      return true;
    };
    ids.push_back(checked(engine.submit(std::move(request), sink)));
  }
  std::unique_lock<std::mutex> lock(arrivals->mutex);
  while (arrivals->open > 0) {
    arrivals->changed.wait_for(lock, std::chrono::milliseconds(100));
    if (!interrupted()) continue;
    lock.unlock();
    for (const RequestId id : ids) engine.cancel(id);
    lock.lock();
  }
  if (arrivals->failure) throw *arrivals->failure;
  stop_if_interrupted();
  Clock::time_point begin = Clock::time_point::min();
  Clock::time_point end = Clock::time_point::max();
  for (const auto& times : arrivals->tokens) {
    if (times.size() < 2)
      throw Error(ErrorCode::kResourceExhausted, "a sequence of the batch was cut short");
    begin = std::max(begin, times.front());
    end = std::min(end, times.back());
  }
  double counted = 0;
  for (const auto& times : arrivals->tokens) {
    counted += static_cast<double>(
        std::count_if(times.begin(), times.end(), [&](auto t) { return t > begin && t <= end; }));
  }
  if (end <= begin)
    throw Error(ErrorCode::kResourceExhausted,
                "the batch does not fit at once; use a smaller -B or -d");
  return counted / std::chrono::duration<double>(end - begin).count();
}

// FNV-1a.
std::string logits_digest(Engine& engine) {
  uint64_t hash = 0xCBF29CE484222325ULL;
  Request request =
      bench_request(arbitrary_tokens(kDigestTokens, engine.info().vocab_size, 12345), 0, false);
  request.prompt_logits = [&](int, const float* logits, int vocab) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(logits);
    for (size_t i = 0; i < static_cast<size_t>(vocab) * sizeof(float); ++i) {
      hash = (hash ^ bytes[i]) * 0x100000001B3ULL;
    }
  };
  run_request(engine, std::move(request), {});
  return fmt::format("{:016x}", hash);
}

}  // namespace serval
