// Paged KV (Kwon et al., "Efficient Memory Management for LLM Serving with PagedAttention", SOSP
// 2023) with a hash-chained prefix cache.
//
// A table is released from its end, so the deep blocks of a chain enter the idle list before their
// parents and are evicted first; with publish() folding duplicates, a cached block's parent is
// always cached too, and a chain is cut only at its tail.
#include "schedule/block_manager.h"

#include <algorithm>
#include <bit>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/sha256.h"

namespace serval {
namespace {

// 64-bit mixing in the manner of SplitMix64 (Steele, Lea, Flood 2014), one step per token.
uint64_t chain_hash(uint64_t parent, std::span<const TokenId> tokens) {
  uint64_t h = parent;
  for (const TokenId token : tokens) {
    h += 0x9E3779B97F4A7C15ULL + static_cast<uint32_t>(token);
    h = (h ^ (h >> 30)) * 0xBF58476D1CE4E5B9ULL;
    h = (h ^ (h >> 27)) * 0x94D049BB133111EBULL;
    h ^= h >> 31;
  }
  return h;
}

// Where the chains of a domain begin.
uint64_t root_hash(CacheDomain domain) { return 0x5E27A1 ^ domain; }

std::span<const TokenId> block_of(std::span<const TokenId> tokens, int index) {
  return tokens.subspan(static_cast<size_t>(index) * kBlockTokens,
                        static_cast<size_t>(kBlockTokens));
}

}  // namespace

CacheDomain cache_domain(std::string_view tenant, std::string_view cache_salt) {
  if (tenant.empty() && cache_salt.empty()) return 0;
  // A salt is the client's to choose, so the hash must be one for which nobody finds a second text.
  const std::string names =
      std::to_string(tenant.size()) + ':' + std::string(tenant) + std::string(cache_salt);
  Sha256 hash;
  hash.update(std::as_bytes(std::span(names)));
  return std::stoull(hash.finish().substr(0, 16), nullptr, 16);
}

BlockManager::BlockManager(int blocks)
    : blocks_(static_cast<size_t>(blocks)), buckets_(std::bit_ceil(2 * blocks_.size() + 1), -1) {
  free_.reserve(blocks_.size());
  for (BlockId id = blocks - 1; id >= 0; --id) {
    at(id).tokens.resize(kBlockTokens);
    free_.push_back(id);
  }
}

int BlockManager::exclusive(const BlockTable& table) const {
  return static_cast<int>(std::count_if(table.begin(), table.end(),
                                        [&](BlockId id) { return at(id).references == 1; }));
}

BlockId BlockManager::lookup(uint64_t hash, BlockId parent, std::span<const TokenId> tokens,
                             CacheDomain domain) const {
  BlockId id = buckets_[hash & (buckets_.size() - 1)];
  for (; id >= 0; id = at(id).next) {
    const Block& block = at(id);
    if (block.hash == hash && block.parent == parent && block.domain == domain &&
        std::equal(tokens.begin(), tokens.end(), block.tokens.begin(), block.tokens.end())) {
      break;
    }
  }
  return id;
}

BlockManager::Match BlockManager::find(std::span<const TokenId> tokens, int max_blocks,
                                       CacheDomain domain) const {
  Match match;
  uint64_t hash = root_hash(domain);
  const int whole = static_cast<int>(tokens.size()) / kBlockTokens;
  while (match.blocks < std::min(max_blocks, whole)) {
    const auto piece = block_of(tokens, match.blocks);
    hash = chain_hash(hash, piece);
    const BlockId block = lookup(hash, match.last, piece, domain);
    if (block < 0) break;
    match.last = block;
    ++match.blocks;
    match.idle += at(block).references == 0 ? 1 : 0;
  }
  return match;
}

int BlockManager::take_cached(std::span<const TokenId> tokens, int max_blocks, BlockTable& table,
                              CacheDomain domain) {
  SERVAL_CHECK(table.empty());
  const Match match = find(tokens, max_blocks, domain);
  table.resize(static_cast<size_t>(match.blocks));
  BlockId block = match.last;
  for (size_t i = table.size(); i-- > 0; block = at(block).parent) {
    reference(block);
    ++at(block).hits;
    table[i] = block;
  }
  return match.blocks;
}

BlockManager::Partial BlockManager::find_partial(BlockId parent, std::span<const TokenId> tokens,
                                                 CacheDomain domain) const {
  Partial best;
  BlockId id = parent < 0 ? first_root_ : at(parent).child;
  for (; id >= 0; id = at(id).sibling) {
    const Block& block = at(id);
    if (block.domain != domain) continue;
    const auto end =
        std::mismatch(tokens.begin(), tokens.end(), block.tokens.begin(), block.tokens.end());
    const auto rows = static_cast<int>(end.first - tokens.begin());
    if (rows > best.rows) best = {id, rows};
  }
  return best;
}

bool BlockManager::grow(BlockTable& table, int blocks) {
  const int missing = blocks - static_cast<int>(table.size());
  if (missing > available()) return false;
  for (int i = 0; i < missing; ++i) {
    const BlockId id = allocate();
    at(id).references = 1;
    table.push_back(id);
  }
  return true;
}

void BlockManager::publish(BlockTable& table, int index, std::span<const TokenId> tokens,
                           CacheDomain domain) {
  SERVAL_CHECK(tokens.size() == static_cast<size_t>(kBlockTokens));
  const BlockId id = table[static_cast<size_t>(index)];
  if (at(id).published) return;  // came from the cache
  const BlockId parent = index == 0 ? -1 : table[static_cast<size_t>(index) - 1];
  SERVAL_CHECK(parent < 0 || (at(parent).published && at(parent).domain == domain));
  const uint64_t parent_hash = parent < 0 ? root_hash(domain) : at(parent).hash;
  const uint64_t hash = chain_hash(parent_hash, tokens);
  const BlockId twin = lookup(hash, parent, tokens, domain);
  if (twin >= 0) {
    SERVAL_CHECK(at(id).references == 1);
    reference(twin);
    unreference(id);
    table[static_cast<size_t>(index)] = twin;
    return;
  }
  Block& block = at(id);
  block.published = true;
  block.hits = 0;
  block.hash = hash;
  block.parent = parent;
  block.domain = domain;
  std::copy(tokens.begin(), tokens.end(), block.tokens.begin());
  block.next = std::exchange(bucket(hash), id);
  block.sibling = std::exchange(first_child(parent), id);
  if (block.sibling >= 0) at(block.sibling).sibling_before = id;
  if (hook_) hook_({id, parent, hash, parent_hash, domain, block.tokens});
}

void BlockManager::release(BlockTable& table) {
  while (!table.empty()) {
    unreference(table.back());
    table.pop_back();
  }
}

BlockTable BlockManager::share(std::span<const BlockId> blocks) {
  for (const BlockId id : blocks) reference(id);
  return {blocks.begin(), blocks.end()};
}

void BlockManager::clear_cache() {
  while (oldest_ >= 0) {
    const BlockId id = oldest_;
    unlink(id);
    forget(id);
    free_.push_back(id);
  }
}

BlockId BlockManager::allocate() {
  if (free_.empty()) {
    const BlockId id = oldest_;
    unlink(id);
    forget(id);
    return id;
  }
  const BlockId id = free_.back();
  free_.pop_back();
  return id;
}

void BlockManager::reference(BlockId id) {
  Block& block = at(id);
  if (block.references == 0) unlink(id);
  ++block.references;
  block.used_us = now_us_;
}

void BlockManager::unreference(BlockId id) {
  Block& block = at(id);
  SERVAL_CHECK(block.references > 0);
  block.used_us = now_us_;
  if (--block.references > 0) return;
  if (block.published) {
    link_newest(id);
  } else {
    free_.push_back(id);
  }
}

void BlockManager::link_newest(BlockId id) {
  at(id).older = newest_;
  at(id).newer = -1;
  (newest_ >= 0 ? at(newest_).newer : oldest_) = id;
  newest_ = id;
  ++idle_count_;
}

void BlockManager::unlink(BlockId id) {
  const Block& block = at(id);
  (block.older >= 0 ? at(block.older).newer : oldest_) = block.newer;
  (block.newer >= 0 ? at(block.newer).older : newest_) = block.older;
  --idle_count_;
}

void BlockManager::forget(BlockId id) {
  Block& block = at(id);
  BlockId* link = &bucket(block.hash);
  while (*link != id) {
    SERVAL_CHECK(*link >= 0);
    link = &at(*link).next;
  }
  *link = block.next;
  if (block.sibling >= 0) at(block.sibling).sibling_before = block.sibling_before;
  (block.sibling_before >= 0 ? at(block.sibling_before).sibling : first_child(block.parent)) =
      block.sibling;
  SERVAL_CHECK(block.child < 0);
  block.next = block.sibling = block.sibling_before = block.parent = -1;
  block.published = false;
}

// ---- For watchers

void BlockManager::states(std::span<const BlockTable* const> tables,
                          std::vector<BlockState>& out) const {
  // First, how many tables name each block; 2 stands for more.
  out.assign(blocks_.size(), BlockState::kFree);
  const auto named = [&](BlockId id) -> BlockState& { return out[static_cast<size_t>(id)]; };
  for (const BlockTable* table : tables) {
    for (const BlockId id : *table) {
      named(id) = named(id) == BlockState::kFree ? BlockState::kLive : BlockState::kShared;
    }
  }
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const Block& block = blocks_[i];
    if (block.references == 0) {
      if (block.published) out[i] = BlockState::kCached;
    } else if (out[i] == BlockState::kFree) {
      out[i] = block.published ? BlockState::kPinned : BlockState::kInFlight;
    }
  }
}

// Depth first over parents' lists of children. A block continues its parent's node when it is the
// only child and was used as often.
void BlockManager::prefixes(std::vector<PrefixNode>& out) const {
  struct Place {
    BlockId block;
    int node;  // of its parent
  };
  out.clear();
  std::vector<Place> open;
  for (BlockId id = first_root_; id >= 0; id = at(id).sibling) open.push_back({id, -1});
  while (!open.empty()) {
    auto [id, node] = open.back();
    open.pop_back();
    const Block& block = at(id);
    const bool only = block.parent >= 0 && at(block.parent).child == id && block.sibling < 0;
    if (!only || at(block.parent).hits != block.hits) {
      const int depth =
          node < 0 ? 0
                   : out[static_cast<size_t>(node)].depth + out[static_cast<size_t>(node)].tokens;
      out.push_back({node, 0, block.domain, 0, depth, 0, block.hits, 0});
      node = static_cast<int>(out.size()) - 1;
    }
    PrefixNode& grown = out[static_cast<size_t>(node)];
    grown.hash = block.hash;
    grown.tokens += kBlockTokens;
    grown.held_blocks += block.references > 0 ? 1 : 0;
    grown.used_us = std::max(grown.used_us, block.used_us);
    for (BlockId child = block.child; child >= 0; child = at(child).sibling) {
      open.push_back({child, node});
    }
  }
}

void BlockManager::check(std::span<const BlockTable* const> tables) const {
  std::vector<int> named(blocks_.size(), 0);
  for (const BlockTable* table : tables) {
    for (const BlockId id : *table) ++named[static_cast<size_t>(id)];
  }
  size_t published = 0;
  int idle_blocks = 0;
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const Block& block = blocks_[i];
    SERVAL_CHECK(block.references == named[i]);
    SERVAL_CHECK(!block.published || block.parent < 0 || at(block.parent).published);
    // A referenced block's parent is referenced: tables hold whole chains.
    SERVAL_CHECK(!block.published || block.references == 0 || block.parent < 0 ||
                 at(block.parent).references > 0);
    published += block.published ? 1 : 0;
    idle_blocks += block.published && block.references == 0 ? 1 : 0;
  }
  size_t indexed = 0;
  for (const BlockId head : buckets_) {
    for (BlockId id = head; id >= 0; id = at(id).next) {
      SERVAL_CHECK(at(id).published);
      ++indexed;
    }
  }
  SERVAL_CHECK(published == indexed);
  SERVAL_CHECK(idle_blocks == idle_count_);
  size_t children = 0;
  for (BlockId parent = -1; parent < total(); ++parent) {
    for (BlockId id = parent < 0 ? first_root_ : at(parent).child; id >= 0; id = at(id).sibling) {
      SERVAL_CHECK(at(id).published && at(id).parent == parent);
      SERVAL_CHECK(parent < 0 || at(id).domain == at(parent).domain);
      ++children;
    }
  }
  SERVAL_CHECK(published == children);
  int walked = 0;
  for (BlockId id = oldest_; id >= 0; id = at(id).newer) {
    SERVAL_CHECK(at(id).published && at(id).references == 0 && walked < total());
    ++walked;
  }
  SERVAL_CHECK(walked == idle_count_);
  std::vector<bool> is_free(blocks_.size(), false);
  for (const BlockId id : free_) {
    SERVAL_CHECK(!is_free[static_cast<size_t>(id)]);
    is_free[static_cast<size_t>(id)] = true;
    SERVAL_CHECK(at(id).references == 0 && !at(id).published);
  }
  SERVAL_CHECK(free() + idle() + referenced() == total());
}

}  // namespace serval
