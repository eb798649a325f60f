// Properties of the block manager under random operations, against a plain model of what a prefix
// cache may promise.
#include "schedule/block_manager.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <set>

namespace serval {
namespace {

std::vector<TokenId> tokens_of(int blocks, int family) {
  std::vector<TokenId> out;
  for (int i = 0; i < blocks * kBlockTokens; ++i) {
    // Families share their first two blocks in pairs.
    out.push_back(i < 2 * kBlockTokens ? family / 2 * 1000 + i : family * 100000 + i);
  }
  return out;
}

struct Holder {
  std::vector<TokenId> tokens;
  BlockTable table;
  int published = 0;
};

void check(const BlockManager& manager, const std::vector<Holder>& holders) {
  std::vector<const BlockTable*> tables;
  for (const Holder& h : holders) tables.push_back(&h.table);
  manager.check(tables);
}

void publish_all(BlockManager& manager, Holder& h) {
  for (; h.published < static_cast<int>(h.table.size()); ++h.published) {
    manager.publish(
        h.table, h.published,
        std::span(h.tokens).subspan(static_cast<size_t>(h.published) * kBlockTokens, kBlockTokens));
  }
}

TEST(BlockManager, InvariantsHoldUnderRandomUse) {
  ASSERT_TRUE(rc::check("any sequence of operations", [] {
    const int size = *rc::gen::inRange(1, 24);
    BlockManager manager(size);
    std::vector<Holder> holders;
    const int operations = *rc::gen::inRange(1, 200);
    for (int i = 0; i < operations; ++i) {
      const int what = *rc::gen::inRange(0, 4);
      if (what <= 1 || holders.empty()) {  // a sequence arrives, reuses what it can, takes the rest
        Holder h;
        const int blocks = *rc::gen::inRange(1, 8);
        h.tokens = tokens_of(blocks, *rc::gen::inRange(0, 6));
        const auto match = manager.find(h.tokens, blocks);
        const int available = manager.available() - match.idle;
        h.published = manager.take_cached(h.tokens, blocks, h.table);
        RC_ASSERT(h.published == match.blocks);
        const bool grown = manager.grow(h.table, blocks);
        RC_ASSERT(grown == (blocks - match.blocks <= available));
        if (!grown) {
          RC_ASSERT(static_cast<int>(h.table.size()) == match.blocks);
          manager.release(h.table);
        } else {
          holders.push_back(std::move(h));
        }
      } else {
        const auto index = *rc::gen::inRange<size_t>(0, holders.size());
        Holder& h = holders[index];
        if (what == 2) {
          publish_all(manager, h);
        } else {
          manager.release(h.table);
          holders.erase(holders.begin() + static_cast<std::ptrdiff_t>(index));
        }
      }
      check(manager, holders);
    }
    for (Holder& h : holders) manager.release(h.table);
    RC_ASSERT(manager.referenced() == 0);
    manager.clear_cache();
    RC_ASSERT(manager.free() == size);
    check(manager, {});
  }));
}

TEST(BlockManager, NobodyWritesAnothersBlock) {
  BlockManager manager(8);
  Holder a{tokens_of(3, 0), {}, 0};
  Holder b{tokens_of(3, 0), {}, 0};
  ASSERT_TRUE(manager.grow(a.table, 3));
  ASSERT_TRUE(manager.grow(b.table, 3));
  for (const BlockId id : a.table) EXPECT_EQ(std::count(b.table.begin(), b.table.end(), id), 0);
  publish_all(manager, a);
  publish_all(manager, b);  // equal content: b's copies are folded into a's blocks
  EXPECT_EQ(a.table, b.table);
  EXPECT_EQ(manager.referenced(), 3);
  EXPECT_EQ(manager.exclusive(a.table), 0);
  check(manager, {a, b});
}

TEST(BlockManager, EvictsTheLeastRecentlyUsedAndDeepBlocksFirst) {
  BlockManager manager(6);
  Holder a{tokens_of(3, 0), {}, 0};
  Holder b{tokens_of(3, 2), {}, 0};
  for (Holder* h : {&a, &b}) {
    ASSERT_TRUE(manager.grow(h->table, 3));
    publish_all(manager, *h);
    manager.release(h->table);
  }
  EXPECT_EQ(manager.idle(), 6);
  BlockTable taken;
  ASSERT_TRUE(manager.grow(taken, 2));
  EXPECT_EQ(manager.find(a.tokens, 3).blocks, 1);  // a's root is what is left of a
  EXPECT_EQ(manager.find(b.tokens, 3).blocks, 3);
  manager.release(taken);
  EXPECT_FALSE(manager.grow(taken, 7));
  EXPECT_TRUE(taken.empty());
}

TEST(BlockManager, AHitComparesTokens) {
  BlockManager manager(4);
  Holder a{tokens_of(2, 0), {}, 0};
  ASSERT_TRUE(manager.grow(a.table, 2));
  publish_all(manager, a);
  auto other = a.tokens;
  other[5] ^= 1;
  EXPECT_EQ(manager.find(other, 2).blocks, 0);
  other = a.tokens;
  other[40] ^= 1;
  EXPECT_EQ(manager.find(other, 2).blocks, 1);
  // The second block's content under another parent is other content.
  std::vector<TokenId> second(a.tokens.begin() + kBlockTokens, a.tokens.end());
  EXPECT_EQ(manager.find(second, 1).blocks, 0);
}

TEST(BlockManager, DomainsNeverMeet) {
  BlockManager manager(8);
  Holder a{tokens_of(2, 0), {}, 0};
  const CacheDomain one = cache_domain("ann", "");
  ASSERT_TRUE(manager.grow(a.table, 2));
  for (int i = 0; i < 2; ++i) {
    manager.publish(a.table, i, std::span(a.tokens).subspan(static_cast<size_t>(i) * 32, 32), one);
  }
  for (const CacheDomain other : {cache_domain("", ""), cache_domain("ann", "x"),
                                  cache_domain("an", "n"), cache_domain("", "ann")}) {
    EXPECT_EQ(manager.find(a.tokens, 2, other).blocks, 0);
    EXPECT_EQ(manager.find_partial(-1, a.tokens, other).rows, 0);
  }
  EXPECT_EQ(manager.find(a.tokens, 2, one).blocks, 2);
  EXPECT_EQ(manager.find_partial(-1, a.tokens, one).rows, 32);
  check(manager, {a});
}

TEST(BlockManager, FindsTheBlockThatBeginsMostAlike) {
  BlockManager manager(8);
  std::vector<PublishedBlock> seen;
  manager.on_publish([&](const PublishedBlock& block) { seen.push_back(block); });
  Holder a{tokens_of(3, 0), {}, 0};
  Holder b{a.tokens, {}, 0};
  b.tokens[2 * kBlockTokens + 20] = 7;  // differs from a in its third block
  for (Holder* h : {&a, &b}) {
    ASSERT_TRUE(manager.grow(h->table, 3));
    publish_all(manager, *h);
  }
  EXPECT_EQ(seen.size(), 4U);  // the equal blocks of b were folded
  EXPECT_EQ(seen[3].parent_hash, seen[1].hash);
  auto wanted = a.tokens;
  wanted[2 * kBlockTokens + 25] = 9;
  const auto match = manager.find(wanted, 3);
  ASSERT_EQ(match.blocks, 2);
  const auto rest = std::span<const TokenId>(wanted).subspan(2 * kBlockTokens);
  EXPECT_EQ(manager.find_partial(match.last, rest).block, a.table[2]);
  EXPECT_EQ(manager.find_partial(match.last, rest).rows, 25);
  EXPECT_EQ(manager.find_partial(match.last, rest.first(10)).rows, 10);
  EXPECT_EQ(manager.find_partial(-1, rest).rows, 0);
  check(manager, {a, b});
  manager.release(a.table);
  manager.clear_cache();  // the third block of a was idle
  EXPECT_EQ(manager.find_partial(match.last, rest).block, b.table[2]);
  EXPECT_EQ(manager.find_partial(match.last, rest).rows, 20);
  check(manager, {b});
}

}  // namespace
}  // namespace serval
