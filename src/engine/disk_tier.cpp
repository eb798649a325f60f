#include "engine/disk_tier.h"

#include <algorithm>
#include <climits>
#include <exception>
#include <utility>

#include "base/check.h"

namespace serval {
namespace {

std::span<const TokenId> piece(std::span<const TokenId> tokens, int index) {
  return tokens.subspan(static_cast<size_t>(index) * kBlockTokens,
                        static_cast<size_t>(kBlockTokens));
}

}  // namespace

static_assert(kRecordTokens == static_cast<size_t>(kBlockTokens));

DiskTier::DiskTier(const DiskCacheConfig& config, KvCache& kv, Later later)
    : kv_(kv),
      cache_(config),
      later_(std::move(later)),
      record_of_(static_cast<size_t>(kv.blocks()), 0),
      reader_([this] { read_loop(); }) {}

DiskTier::~DiskTier() { stop(); }

void DiskTier::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  if (reader_.joinable()) reader_.join();
}

void DiskTier::attach(Core& core) {
  core.blocks().on_publish([this](const PublishedBlock& block) { published(block); });
  core.on_add([this, &core](Sequence& sequence) { consider(core, sequence); });
}

// Also called for blocks that came from the disk: their record is found again, not written again.
void DiskTier::published(const PublishedBlock& block) {
  uint64_t& record = record_of_[static_cast<size_t>(block.block)];
  record = 0;
  const uint64_t parent = block.parent < 0 ? 0 : record_of_[static_cast<size_t>(block.parent)];
  if (block.parent >= 0 && parent == 0) return;  // what leads here was not written
  record = cache_.put(parent, block.domain, block.tokens,
                      [&](std::span<std::byte> out) { kv_.read_block(block.block, out); });
}

void DiskTier::consider(Core& core, Sequence& sequence) {
  if (!sequence.use_cache || plan(core, sequence) == nullptr) return;
  sequence.loading = true;
  waiting_.push_back(sequence.id);
  start_next(core);
}

std::unique_ptr<DiskTier::Load> DiskTier::plan(Core& core, const Sequence& s) {
  // Never the last token, whose logits are wanted.
  const int most = std::min(s.known() - 1, s.reuse_limit) / kBlockTokens;
  const BlockManager& blocks = core.blocks();
  const BlockManager::Match match = blocks.find(s.tokens, most, s.domain);
  std::vector<uint64_t> chain = cache_.match(s.domain, s.tokens, most);
  // Those that run shall each be able to grow.
  const int room = blocks.available() - match.idle - core.scheduler().running() - 1;
  const int count = std::min(static_cast<int>(chain.size()) - match.blocks, room);
  if (count <= 0) return nullptr;
  StepLoad saved;
  saved.add(count * kBlockTokens, match.blocks * kBlockTokens);
  const double bytes = static_cast<double>(count) * static_cast<double>(kv_.block_bytes());
  if (bytes / cache_.read_rate() * 1e6 > core.scheduler().cost().predict_us(saved)) return nullptr;
  auto load = std::make_unique<Load>();
  load->request = s.id;
  load->domain = s.domain;
  load->cached = match.blocks;
  load->records.assign(chain.begin() + match.blocks, chain.begin() + match.blocks + count);
  return load;
}

void DiskTier::start_next(Core& core) {
  while (!busy_ && !waiting_.empty()) {
    const RequestId id = waiting_.front();
    waiting_.pop_front();
    const Sequence* s = core.find(id);
    if (s == nullptr || s->ended()) continue;
    std::shared_ptr<Load> load = plan(core, *s);  // the load before may have brought it already
    if (load == nullptr) {
      core.loaded(id, 0);
      continue;
    }
    const int total = load->cached + static_cast<int>(load->records.size());
    load->tokens.assign(s->tokens.begin(), s->tokens.begin() + total * kBlockTokens);
    core.blocks().take_cached(load->tokens, load->cached, load->table, load->domain);
    SERVAL_CHECK(core.blocks().grow(load->table, total));
    busy_ = true;
    {
      const std::lock_guard lock(mutex_);
      next_ = std::move(load);
    }
    wake_.notify_one();
  }
}

void DiskTier::finish(Core& core, Load& load) {
  for (int i = load.cached; i < load.cached + load.read; ++i) {
    core.blocks().publish(load.table, i, piece(load.tokens, i), load.domain);
  }
  core.blocks().release(load.table);
  core.loaded(load.request, load.read * kBlockTokens);
  busy_ = false;
  start_next(core);
}

void DiskTier::read_loop() {
  for (;;) {
    std::shared_ptr<Load> load;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return stopping_ || next_ != nullptr; });
      if (stopping_) return;
      load = std::move(next_);
      next_ = nullptr;
    }
    try {
      read(*load);
    } catch (const std::exception&) {
      // No memory for one block's bytes: what was read so far is used.
    }
    later_([this, load](Core& core) { finish(core, *load); });
  }
}

void DiskTier::read(Load& load) {
  std::vector<std::byte> bytes(kv_.block_bytes());
  for (const uint64_t record : load.records) {
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return;
    }
    if (!cache_.read(record, bytes)) return;
    kv_.write_block(load.table[static_cast<size_t>(load.cached + load.read)], bytes);
    ++load.read;
  }
}

}  // namespace serval
