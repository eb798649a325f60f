// BlockManager: which KV block belongs to whom, and which blocks still hold something worth
// keeping.
//
// A block is 32 token positions of every layer. It is in exactly one of three states:
//   free        nobody names it and it holds nothing,
//   referenced  named by one or more block tables (or pins),
//   idle        named by nobody, but published: its content can be found again. Idle blocks are the
//               prefix cache; the least recently used one is given away when no block is free.
// Content is found by a chain: hash(parent's hash, 32 tokens) -> block. A hit also compares the
// tokens and the parent block, so a collision can never serve foreign content. A chain begins in a
// domain; chains of two domains never meet, so that one tenant cannot learn from the time to its
// first token what another one asked.
//
// A plain object: no threads, no memory of its own besides the tables, nothing allocates after the
// constructor. Owned by the engine core; engine thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "backend/forward_batch.h"
#include "serval/request.h"
#include "serval/watch.h"

namespace serval {

using BlockTable = std::vector<BlockId>;

// Who shares cached KV. The same in every process, so that it may name content on disk.
using CacheDomain = uint64_t;
CacheDomain cache_domain(std::string_view tenant, std::string_view cache_salt);

// A block whose content can be found from now on.
struct PublishedBlock {
  BlockId block = -1, parent = -1;     // parent -1: the first of a chain
  uint64_t hash = 0, parent_hash = 0;  // parent_hash of a first block: its domain's
  CacheDomain domain = 0;
  std::span<const TokenId> tokens;  // [32]
};

class BlockManager {
 public:
  explicit BlockManager(int blocks);

  int total() const { return static_cast<int>(blocks_.size()); }
  int free() const { return static_cast<int>(free_.size()); }
  int idle() const { return idle_count_; }
  int referenced() const { return total() - free() - idle(); }
  // Blocks that grow() could hand out.
  int available() const { return free() + idle(); }
  // Of the table's blocks, those nobody else names: what releasing it would make available.
  int exclusive(const BlockTable& table) const;

  // How many leading whole blocks of `tokens` are cached, at most `max_blocks`; `idle` of them are
  // idle now, so taking them makes them unavailable. `last`: the block of the last ones, or -1.
  struct Match {
    int blocks = 0;
    int idle = 0;
    BlockId last = -1;
  };
  Match find(std::span<const TokenId> tokens, int max_blocks, CacheDomain domain = 0) const;
  // Appends the cached blocks that find() counts to an empty table, referencing them.
  int take_cached(std::span<const TokenId> tokens, int max_blocks, BlockTable& table,
                  CacheDomain domain = 0);
  // Of the cached blocks that follow `parent` (-1: that begin a chain), the one that begins with
  // most of `tokens`; copied, it saves computing so many rows.
  struct Partial {
    BlockId block = -1;
    int rows = 0;
  };
  Partial find_partial(BlockId parent, std::span<const TokenId> tokens,
                       CacheDomain domain = 0) const;

  // Extends the table to `blocks` blocks, evicting idle ones if needed. All or nothing.
  bool grow(BlockTable& table, int blocks);
  // The `index`-th block of the table is full with `tokens` (32) and computed: others may find it.
  // Blocks are published in order. If equal content is already published, the table's entry becomes
  // that block and the duplicate is freed: a published block's parent is always published.
  void publish(BlockTable& table, int index, std::span<const TokenId> tokens,
               CacheDomain domain = 0);
  // Called for every block when it becomes findable, before publish() returns.
  void on_publish(std::function<void(const PublishedBlock&)> hook) { hook_ = std::move(hook); }
  // Is the table the block's only holder, and may it still be written?
  bool writable(BlockId id) const { return at(id).references == 1 && !at(id).published; }
  // Drops the table's references and empties it.
  void release(BlockTable& table);
  // Another name for the same blocks.
  BlockTable share(std::span<const BlockId> blocks);
  // The time that uses are noted with, microseconds.
  void set_now(int64_t now_us) { now_us_ = now_us; }
  // For watchers: every block's state, given the tables of all sequences; and the tree of
  // findable content.
  void states(std::span<const BlockTable* const> tables, std::vector<BlockState>& out) const;
  void prefixes(std::vector<PrefixNode>& out) const;
  // Forgets all idle content.
  void clear_cache();

  // Checks every invariant against the tables that should exist; ends the process if one is broken.
  void check(std::span<const BlockTable* const> tables) const;

 private:
  struct Block {
    int references = 0;
    bool published = false;
    uint64_t hash = 0;
    BlockId parent = -1;
    BlockId older = -1, newer = -1;  // links of the idle list
    BlockId next = -1;               // in the index's bucket
    CacheDomain domain = 0;
    BlockId child = -1;                         // a published child, and
    BlockId sibling_before = -1, sibling = -1;  // the other children of its parent
    std::vector<TokenId> tokens;                // [32] when published
    uint32_t hits = 0;                          // times it was found, and
    int64_t used_us = 0;                        // taken or given back last
  };

  Block& at(BlockId id) { return blocks_[static_cast<size_t>(id)]; }
  const Block& at(BlockId id) const { return blocks_[static_cast<size_t>(id)]; }
  BlockId& bucket(uint64_t hash) { return buckets_[hash & (buckets_.size() - 1)]; }
  BlockId& first_child(BlockId parent) { return parent < 0 ? first_root_ : at(parent).child; }
  BlockId lookup(uint64_t hash, BlockId parent, std::span<const TokenId> tokens,
                 CacheDomain domain) const;
  BlockId allocate();
  void reference(BlockId id);
  void unreference(BlockId id);
  void link_newest(BlockId id);
  void unlink(BlockId id);
  void forget(BlockId id);  // removes a published block from the index

  std::vector<Block> blocks_;
  std::vector<BlockId> free_;
  std::vector<BlockId> buckets_;  // of the index by hash: heads of lists linked by Block::next
  BlockId oldest_ = -1, newest_ = -1;
  int idle_count_ = 0;
  int64_t now_us_ = 0;
  BlockId first_root_ = -1;  // head of the list of published blocks without parent
  std::function<void(const PublishedBlock&)> hook_;
};

}  // namespace serval
