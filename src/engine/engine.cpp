// The public face: what a caller's thread does before the inbox, and snapshots.
//
// Saving is a prompt-only request whose whole blocks are shared before it releases them, then
// copied out one by one between steps, so that it never stalls the others for more than one block.
// Loading verifies the whole file first, then fills fresh blocks the same way and publishes them at
// the end; until then nothing live knows of them.
#include "serval/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <map>
#include <mutex>
#include <utility>

#include "base/monotonic.h"
#include "engine/disk_tier.h"
#include "engine/engine_thread.h"
#include "engine/input.h"
#include "engine/loader.h"
#include "engine/snapshot.h"

namespace serval {
namespace {

// Runs `body`, turning what the world throws into a Result.
template <typename Body>
auto as_result(const Body& body) -> Result<decltype(body())> {
  try {
    return body();
  } catch (const Error& e) {
    return e;
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::kOutOfMemory, "out of memory");
  } catch (const std::exception& e) {
    return Error(ErrorCode::kInternal, e.what());
  }
}

// References to KV blocks held outside any sequence; released on the engine thread.
class BlockLease {
 public:
  explicit BlockLease(EngineThread& thread) : thread_(thread) {}
  ~BlockLease() {
    if (table.empty()) return;
    thread_.run([this](Core& core) { core.blocks().release(table); });
  }
  BlockLease(const BlockLease&) = delete;
  BlockLease& operator=(const BlockLease&) = delete;
  BlockTable table;

 private:
  EngineThread& thread_;
};

}  // namespace

struct Engine::Impl {
  Impl(LoadedModel&& model, const EngineConfig& config)
      : share_prefix_cache(config.share_prefix_cache),
        loaded(std::move(model)),
        input(*loaded.tokenizer, loaded.chat_template, loaded.template_problem,
              loaded.info.context),
        thread({*loaded.model, *loaded.backend, *loaded.kv, loaded.limits,
                loaded.tokenizer->vocab().size(), loaded.traffic, config.max_itl_ms,
                config.share_prefix_cache},
               config.max_queue) {
    if (!config.kv_cache_dir.empty()) open_disk(config);
  }
  ~Impl() {
    if (disk != nullptr) disk->stop();
  }

  const bool share_prefix_cache;
  LoadedModel loaded;
  Input input;
  std::once_flag identified;
  Fingerprint identity;
  std::mutex pins_mutex;
  std::map<std::string, BlockTable> pinned;  // by path
  std::unique_ptr<DiskTier> disk;            // null: cached KV does not outlive the process
  EngineThread thread;  // last: it borrows all of the above, and is destroyed first

  const Fingerprint& fingerprint() {
    std::call_once(identified, [this] { identity = serval::fingerprint(loaded); });
    return identity;
  }

  void open_disk(const EngineConfig& config);
  Result<RequestId> submit(Request request, EventSink sink, BeforeRelease before_release);
  BlockTable compute_prompt(const std::vector<TokenId>& tokens, const std::string& tenant);
  SnapshotInfo save_snapshot(const std::vector<TokenId>& tokens, const std::string& path,
                             const std::string& tenant);
  SnapshotReader open_snapshot(const std::string& path);
  SnapshotInfo inspect_snapshot(const std::string& path, bool whole);
  SnapshotInfo load_snapshot(const std::string& path, const std::string& tenant);
};

Engine::Engine() = default;
Engine::~Engine() = default;

Result<std::unique_ptr<Engine>> Engine::load(const EngineConfig& config) {
  return as_result([&] {
    std::unique_ptr<Engine> engine(new Engine);
    engine->impl_ = std::make_unique<Impl>(load_everything(config), config);
    return engine;
  });
}

const ModelInfo& Engine::info() const { return impl_->loaded.info; }

EngineStats Engine::stats() const {
  const Counters& c = impl_->thread.counters();
  EngineStats s;
  s.running = c.running;
  s.waiting = c.waiting;
  s.kv_tokens_total = int64_t{impl_->loaded.kv->blocks()} * kBlockTokens;
  s.kv_tokens_used = int64_t{c.blocks_used} * kBlockTokens;
  s.kv_tokens_cached = int64_t{c.blocks_cached} * kBlockTokens;
  s.steps = c.steps;
  s.prompt_tokens = c.prompt_tokens;
  s.cached_tokens = c.cached_tokens;
  s.completion_tokens = c.completion_tokens;
  s.cancelled = c.cancelled;
  s.disk_cached_tokens = c.disk_cached_tokens;
  if (impl_->disk != nullptr) {
    const DiskCacheStats disk = impl_->disk->cache().stats();
    s.disk_blocks = disk.records;
    s.disk_bytes = disk.bytes;
    s.disk_blocks_written = disk.written;
    s.disk_blocks_dropped = disk.dropped;
    s.disk_blocks_damaged = disk.damaged;
    s.disk_write_errors = disk.write_errors;
  }
  s.rows = c.rows;
  s.rows_after_cancel = c.rows_after_cancel;
  s.preemptions = c.preemptions;
  s.step_us = c.step_us;
  s.predicted_step_us = c.predicted_step_us;
  s.weight_bytes = c.weight_bytes;
  s.kv_bytes = c.kv_bytes;
  std::copy(c.step_histogram.begin(), c.step_histogram.end(), s.step_histogram.begin());
  return s;
}

Result<RequestId> Engine::submit(Request request, EventSink sink) {
  return impl_->submit(std::move(request), std::move(sink), {});
}

void Engine::cancel(RequestId id) { impl_->thread.cancel(id); }
void Engine::pause(RequestId id) { impl_->thread.pause(id, true); }
void Engine::resume(RequestId id) { impl_->thread.pause(id, false); }

std::vector<StepRecord> Engine::last_steps(size_t most) const {
  return impl_->thread.steps().last(most);
}

std::vector<StepRecord> Engine::steps_after(uint64_t number, size_t most) const {
  return impl_->thread.steps().after(number, most);
}

std::vector<OperatorWork> Engine::work() const { return impl_->loaded.backend->work(); }

std::vector<LifeEvent> Engine::lives_after(uint64_t number, size_t most) const {
  return impl_->thread.lives().after(number, most);
}

void Engine::survey(std::shared_ptr<Survey> into, bool prefixes, std::function<void()> done) {
  const DiskTier* disk = impl_->disk.get();
  impl_->thread.later([into = std::move(into), prefixes, done = std::move(done), disk](Core& core) {
    core.survey(*into, prefixes);
    for (size_t i = 0; disk != nullptr && i < into->blocks.size(); ++i) {
      BlockState& state = into->blocks[i];
      if (state == BlockState::kCached && disk->holds(static_cast<BlockId>(i))) {
        state = BlockState::kCachedOnDisk;
      }
    }
    done();
  });
}

std::vector<TokenId> Engine::tokenize(std::string_view text, bool parse_special,
                                      bool add_special) const {
  return impl_->loaded.tokenizer->encode(text, {parse_special, add_special});
}

std::string Engine::detokenize(const std::vector<TokenId>& tokens, bool special) const {
  return impl_->loaded.tokenizer->decode(tokens, special);
}

Result<std::string> Engine::render(const ChatPrompt& chat) const {
  return impl_->input.render(chat);
}

Result<std::vector<TokenId>> Engine::tokenize(const Prompt& prompt) const {
  return impl_->input.tokenize(prompt);
}

Result<RequestId> Engine::Impl::submit(Request request, EventSink sink,
                                       BeforeRelease before_release) {
  using Submitted = Result<RequestId>;
  auto result = as_result([&]() -> Submitted {
    const RequestId id = thread.next_id();
    auto sequence = input.prepare(std::move(request), std::make_shared<Outlet>(id, std::move(sink)),
                                  monotonic_us());
    if (!sequence) return sequence.error();
    (*sequence)->before_release = std::move(before_release);
    if (auto queued = thread.submit(std::move(*sequence)); !queued) return queued.error();
    return id;
  });
  return result ? *result : Submitted(result.error());
}

void Engine::Impl::open_disk(const EngineConfig& config) {
  const Fingerprint& f = fingerprint();
  DiskCacheConfig disk_config;
  disk_config.folder = config.kv_cache_dir;
  disk_config.max_bytes = static_cast<uint64_t>(std::max<int64_t>(config.kv_cache_bytes, 0));
  disk_config.kind = {
      fmt::format("model {:016x}; {}; {}; {}", f.model, f.shape, f.kv_type, f.numerics),
      loaded.kv->block_bytes()};
  disk = std::make_unique<DiskTier>(
      disk_config, *loaded.kv,
      [this](std::function<void(Core&)> job) { thread.later(std::move(job)); });
  if (const std::string reason = disk->cache().read_only_reason(); !reason.empty()) {
    loaded.info.warnings.push_back(fmt::format("{}: KV cached there is used, but none is added: {}",
                                               config.kv_cache_dir, reason));
  }
  thread.run([this](Core& core) { disk->attach(core); });
}

// ---- Snapshots

// Computes the prompt (or finds it cached) and returns its whole blocks, referenced.
BlockTable Engine::Impl::compute_prompt(const std::vector<TokenId>& tokens,
                                        const std::string& tenant) {
  Request request;
  request.prompt = tokens;
  request.tenant = tenant;
  request.max_tokens = 0;
  BlockTable table;
  std::promise<std::optional<Error>> done;
  const auto sink = [&](RequestId, const Event& event) {
    if (const auto* failed = std::get_if<Failed>(&event)) done.set_value(failed->error);
    if (const auto* finished = std::get_if<Finished>(&event)) {
      const bool complete = finished->reason != FinishReason::kCancelled;
      done.set_value(complete ? std::optional<Error>()
                              : Error(ErrorCode::kCancelled, "saving the state was cancelled"));
    }
    return true;
  };
  // Runs on the engine thread, in the step that computed the last row.
  const auto keep = [&](Core& core, Sequence& s) {
    if (s.pending() > 0 || s.failed) return;
    table = core.blocks().share(
        std::span(s.blocks).first(static_cast<size_t>(s.known() / kBlockTokens)));
  };
  auto id = submit(std::move(request), sink, keep);
  if (!id) throw id.error();
  if (auto error = done.get_future().get()) throw *error;
  return table;
}

SnapshotInfo Engine::Impl::save_snapshot(const std::vector<TokenId>& tokens,
                                         const std::string& path, const std::string& tenant) {
  BlockLease lease(thread);
  lease.table = compute_prompt(tokens, tenant);
  const int blocks = static_cast<int>(lease.table.size());
  const size_t block_bytes = loaded.kv->block_bytes();
  SnapshotWriter writer(path, {fingerprint(), tokens, blocks, block_bytes});
  std::vector<std::byte> bytes(block_bytes);
  for (const BlockId block : lease.table) {
    thread.run([&](Core& core) { core.kv().read_block(block, bytes); });
    writer.add_block(bytes);
  }
  writer.commit();
  return {blocks * kBlockTokens, writer.bytes()};
}

// Opened, proven to be of this model and whole up to its blocks.
SnapshotReader Engine::Impl::open_snapshot(const std::string& path) {
  SnapshotReader reader(path);
  reader.require(fingerprint(), loaded.kv->block_bytes());
  const int vocab = loaded.tokenizer->vocab().size();
  for (const TokenId token : reader.header().tokens) {
    if (token < 0 || token >= vocab) {
      throw Error(ErrorCode::kCorrupt, path + ": a token is outside the vocabulary");
    }
  }
  return reader;
}

SnapshotInfo Engine::Impl::inspect_snapshot(const std::string& path, bool whole) {
  const SnapshotReader reader = open_snapshot(path);
  const int blocks = reader.header().blocks;
  std::vector<std::byte> bytes(whole ? loaded.kv->block_bytes() : 0);
  for (int i = 0; whole && i < blocks; ++i) reader.read_block(i, bytes);
  return {blocks * kBlockTokens, reader.bytes()};
}

SnapshotInfo Engine::Impl::load_snapshot(const std::string& path, const std::string& tenant) {
  const SnapshotReader reader = open_snapshot(path);
  const SnapshotHeader& header = reader.header();
  std::vector<std::byte> bytes(loaded.kv->block_bytes());
  for (int i = 0; i < header.blocks; ++i) reader.read_block(i, bytes);  // verifies

  const CacheDomain domain = cache_domain(share_prefix_cache ? std::string() : tenant, "");
  BlockLease lease(thread);
  int cached = 0;
  thread.run([&](Core& core) {
    BlockManager& blocks = core.blocks();
    const auto match = blocks.find(header.tokens, header.blocks, domain);
    const int needed = header.blocks - match.blocks;
    const int available = blocks.available() - match.idle;
    if (needed >= available) {  // one block stays for requests
      throw Error(
          ErrorCode::kResourceExhausted,
          fmt::format("{}: the snapshot needs {} more KV blocks, but {} of {} are available: "
                      "raise the KV pool or release other snapshots",
                      path, needed, available, blocks.total()));
    }
    cached = blocks.take_cached(header.tokens, header.blocks, lease.table, domain);
    blocks.grow(lease.table, header.blocks);
  });
  for (int i = cached; i < header.blocks; ++i) {
    reader.read_block(i, bytes);
    const BlockId block = lease.table[static_cast<size_t>(i)];
    thread.run([&](Core& core) { core.kv().write_block(block, bytes); });
  }
  thread.run([&](Core& core) {
    for (int i = 0; i < header.blocks; ++i) {
      core.blocks().publish(
          lease.table, i,
          std::span(header.tokens)
              .subspan(static_cast<size_t>(i) * kBlockTokens, static_cast<size_t>(kBlockTokens)),
          domain);
    }
  });
  const std::lock_guard lock(pins_mutex);
  lease.table.swap(pinned[path]);  // the lease gives back what this path pinned before
  return {header.blocks * kBlockTokens, reader.bytes()};
}

Result<SnapshotInfo> Engine::save_state(const Prompt& prompt, const std::string& path,
                                        const std::string& tenant) {
  return as_result([&] { return impl_->save_snapshot(tokenize(prompt).value(), path, tenant); });
}

Result<SnapshotInfo> Engine::load_state(const std::string& path, const std::string& tenant) {
  return as_result([&] { return impl_->load_snapshot(path, tenant); });
}

Result<SnapshotInfo> Engine::inspect_state(const std::string& path, bool whole) const {
  return as_result([&] { return impl_->inspect_snapshot(path, whole); });
}

void Engine::release_state(const std::string& path) {
  BlockLease lease(impl_->thread);
  const std::lock_guard lock(impl_->pins_mutex);
  const auto found = impl_->pinned.find(path);
  if (found == impl_->pinned.end()) return;
  lease.table.swap(found->second);
  impl_->pinned.erase(found);
}

Result<std::vector<TokenId>> Engine::state_tokens(const std::string& path) const {
  return as_result([&] { return impl_->open_snapshot(path).header().tokens; });
}

const char* to_string(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kContextFull:
      return "context_full";
    case FinishReason::kCancelled:
      return "cancelled";
  }
  return "";
}

}  // namespace serval
