// Engine: load a model once, run any number of requests together. The whole public face of the
// library.
//
// Threads: every method may be called from any thread. One engine thread owns all model state;
// events are delivered by one delivery thread. Destroying the Engine cancels what runs and delivers
// the last events.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "serval/request.h"
#include "serval/watch.h"

namespace serval {

enum class KvStorage { kF16, kF32, kQ8_0 };

struct EngineConfig {
  std::string model;            // path of a GGUF file
  std::string backend = "cpu";  // "cpu" or "reference"
  std::string isa;              // "": best of this machine; else "avx512", "avx2", "portable"
  int threads = 0;              // 0: all usable cores
  int context = 0;              // longest sequence; 0: as trained, at most what the KV pool holds
  int64_t kv_tokens =
      0;  // KV pool shared by all sequences; 0: one full context, within 25 % of memory
  int max_sequences = 16;  // running at once
  int batch_tokens = 512;  // rows per step
  KvStorage kv_type = KvStorage::kF16;
  int max_queue = 1024;  // waiting requests; more are refused with kResourceExhausted
  // While someone streams, a step takes at most about so long: it bounds how many prompt rows join.
  int max_itl_ms = 250;
  bool share_prefix_cache = false;            // cached KV is shared between tenants too
  std::string kv_cache_dir;                   // "": cached KV does not outlive the process
  int64_t kv_cache_bytes = int64_t{4} << 30;  // most that kv_cache_dir may hold
  std::function<void(uint64_t done, uint64_t total)>
      progress;  // weights loaded, on the calling thread
};

struct ModelInfo {
  std::string path, name, architecture;
  std::string chat_template;  // empty: none
  int vocab_size = 0, context = 0, trained_context = 0, layers = 0, hidden_size = 0;
  uint64_t parameters = 0, file_bytes = 0, weight_bytes = 0, kv_bytes = 0, workspace_bytes = 0;
  std::string backend, kernels;
  int threads = 0;
  SamplingParams sampling;            // the file's recommendation, else our defaults
  std::vector<std::string> warnings;  // e.g. an unknown pre-tokenizer
  std::vector<PlannedOperator> plan;  // in the order of a step
  double load_ms = 0;
};

// Upper bounds of EngineStats::step_histogram in seconds; one more bucket holds the rest.
inline constexpr std::array<double, 12> kStepSeconds = {0.001, 0.002, 0.005, 0.01, 0.02, 0.05,
                                                        0.1,   0.2,   0.5,   1.0,  2.0,  5.0};

struct EngineStats {  // one consistent-enough reading of atomics
  int running = 0, waiting = 0;
  int64_t kv_tokens_total = 0, kv_tokens_used = 0, kv_tokens_cached = 0;
  // Since the load, all of what follows.
  uint64_t steps = 0, prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0, cancelled = 0;
  uint64_t disk_cached_tokens = 0;  // of cached_tokens, those that came from kv_cache_dir
  uint64_t rows = 0;                // computed: prompts, what preemption made repeat, decodes
  uint64_t rows_after_cancel = 0;   // of these, in a step that a cancel of their request overtook
  uint64_t preemptions = 0;
  uint64_t step_us = 0, predicted_step_us = 0;
  uint64_t weight_bytes = 0, kv_bytes = 0;                         // read by the steps, at least
  std::array<uint64_t, kStepSeconds.size() + 1> step_histogram{};  // steps by time, not cumulative
  // kv_cache_dir: what can be read and what its files take now, then blocks since the load.
  uint64_t disk_blocks = 0, disk_bytes = 0;
  uint64_t disk_blocks_written = 0, disk_blocks_dropped = 0, disk_blocks_damaged = 0;
  uint64_t disk_write_errors = 0;  // after the first, nothing more is written
};

// What one engine step did. Times are microseconds of the monotonic clock.
enum class SpanKind : uint8_t {
  kPrefill,     // rows of the prompt
  kDecode,      // the row of the newest token
  kRecomputed,  // rows that were computed before a preemption
  kSpeculative  // rows of a draft
};
struct StepSpan {
  RequestId request = 0;
  int32_t rows = 0;     // computed in this step, fewer than 2^28
  int32_t context = 0;  // known KV before them
  SpanKind kind = SpanKind::kPrefill;
};
struct StepRecord {
  uint64_t number = 0;  // counts up from 1
  int64_t begin_us = 0, end_us = 0;
  int64_t predicted_us = 0;  // by the cost model, before the step
  int32_t rows = 0, decode_rows = 0, running = 0, waiting = 0, preempted = 0;
  int32_t blocks_used = 0, blocks_cached = 0;
  uint64_t weight_bytes = 0, kv_bytes = 0;  // read from memory at least, for the roofline
  uint64_t macs = 0;                        // multiply-adds of matrix products
  std::vector<StepSpan> spans;
};

struct SnapshotInfo {
  int tokens = 0;  // usable after a load: whole 32-token blocks
  uint64_t bytes = 0;
};

class Engine {
 public:
  static Result<std::unique_ptr<Engine>> load(const EngineConfig& config);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  const ModelInfo& info() const;
  EngineStats stats() const;

  // Refuses at once what can never run: empty or too long prompts, values out of range, unknown
  // samplers.
  Result<RequestId> submit(Request request, EventSink sink);
  void cancel(RequestId id);  // takes effect before the next step; unknown ids are ignored
  // A paused request keeps its KV and gets no rows: for readers that cannot keep up. Unknown ids
  // are ignored.
  void pause(RequestId id);
  void resume(RequestId id);

  // The most recent steps, oldest first; the engine keeps the last 4,096.
  std::vector<StepRecord> last_steps(size_t most) const;
  // Those after step `number`, at most so many.
  std::vector<StepRecord> steps_after(uint64_t number, size_t most) const;
  // Where the time of all steps went, layer by layer, with what there was to do. Rows that never
  // ran are left out.
  std::vector<OperatorWork> work() const;
  // What happened to requests after event `number`, oldest first; the last 8,192 are kept.
  std::vector<LifeEvent> lives_after(uint64_t number, size_t most) const;
  // Fills `into` between two steps, then calls `done` there, which must be short; neither happens
  // when the engine ends before. `prefixes`: also the tree of cached prefixes.
  void survey(std::shared_ptr<Survey> into, bool prefixes, std::function<void()> done);

  std::vector<TokenId> tokenize(std::string_view text, bool parse_special, bool add_special) const;
  std::string detokenize(const std::vector<TokenId>& tokens, bool special) const;
  // The prompt text a chat would become, and its tokens.
  Result<std::string> render(const ChatPrompt& chat) const;
  Result<std::vector<TokenId>> tokenize(const Prompt& prompt) const;

  // Computes the prompt's KV (or takes it from the cache) and writes it durably: temporary file,
  // checksum, fsync, rename. Blocks the caller. `tenant`: whose cached KV it uses and fills.
  Result<SnapshotInfo> save_state(const Prompt& prompt, const std::string& path,
                                  const std::string& tenant = {});
  // Verifies everything, then makes the blocks available to later requests of the tenant that begin
  // with the same tokens, pinned until release_state. Live state is unchanged on any error.
  Result<SnapshotInfo> load_state(const std::string& path, const std::string& tenant = {});
  // What a snapshot holds and whether this engine could load it. `whole`: proves every byte, not
  // only header and tokens.
  Result<SnapshotInfo> inspect_state(const std::string& path, bool whole) const;
  // Lets go of the blocks that load_state(path) pinned; unknown paths are ignored.
  void release_state(const std::string& path);
  // The tokens a snapshot stands for.
  Result<std::vector<TokenId>> state_tokens(const std::string& path) const;

 private:
  Engine();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// ---- Ten lines on top
// -----------------------------------------------------------------------------------

struct Completion {
  std::string text;
  std::vector<TokenId> tokens;
  std::vector<TokenLogprob> logprobs;
  Finished finished;
  uint64_t seed = 0;
};
// Runs one request to its end. `on_text` (may be empty) gets pieces as they come; return false to
// stop.
Result<Completion> generate(Engine& engine, Request request,
                            const std::function<bool(std::string_view)>& on_text = {});
// Runs many at once; results in input order.
std::vector<Result<Completion>> generate_all(Engine& engine, std::vector<Request> requests);

}  // namespace serval
