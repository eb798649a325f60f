#include "kvdisk/disk_cache.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>

namespace serval {
namespace {

namespace fs = std::filesystem;
using Bytes = std::vector<std::byte>;

constexpr uint64_t kBlock = 200;

class DiskCacheTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(::testing::TempDir()) / ("kv-cache-" + std::to_string(getpid()));
    fs::remove_all(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::unique_ptr<DiskCache> open(uint64_t max_bytes = 1 << 20, const char* identity = "model a") {
    return std::make_unique<DiskCache>(
        DiskCacheConfig{folder_.string(), max_bytes, {identity, kBlock}, 1 << 20});
  }
  // The tokens of chain `chain`, `blocks` blocks long; all chains differ in every block.
  static std::vector<TokenId> tokens(int chain, int blocks) {
    std::vector<TokenId> out;
    for (int i = 0; i < blocks * static_cast<int>(kRecordTokens); ++i)
      out.push_back(chain * 1000 + i);
    return out;
  }
  static Bytes payload(int chain, int block) {
    std::mt19937 random(static_cast<unsigned>(chain * 1000 + block));
    Bytes out(kBlock);
    for (std::byte& b : out) b = static_cast<std::byte>(random());
    return out;
  }
  // Records of the whole chain; 0 from the first that was dropped.
  static std::vector<uint64_t> put(DiskCache& cache, int chain, int blocks, uint64_t domain = 0) {
    const auto all = tokens(chain, blocks);
    std::vector<uint64_t> out;
    uint64_t parent = 0;
    for (int i = 0; i < blocks; ++i) {
      parent =
          cache.put(parent, domain,
                    std::span(all).subspan(static_cast<size_t>(i) * kRecordTokens, kRecordTokens),
                    [&](std::span<std::byte> to) {
                      const Bytes bytes = payload(chain, i);
                      std::copy(bytes.begin(), bytes.end(), to.begin());
                    });
      out.push_back(parent);
      if (parent == 0) break;
    }
    return out;
  }
  // How many leading blocks of the chain are there; each must be exactly what was put.
  static int check(DiskCache& cache, int chain, int blocks, uint64_t domain = 0) {
    int good = 0;
    Bytes bytes(kBlock);
    for (const uint64_t record : cache.match(domain, tokens(chain, blocks), blocks)) {
      if (!cache.read(record, bytes)) break;
      EXPECT_EQ(bytes, payload(chain, good)) << "foreign content";
      ++good;
    }
    return good;
  }
  std::vector<fs::path> segments() const {
    std::vector<fs::path> out;
    for (const auto& each : fs::directory_iterator(folder_)) {
      if (each.path().extension() == ".kv") out.push_back(each.path());
    }
    std::sort(out.begin(), out.end());
    return out;
  }
  static std::string contents(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  fs::path folder_;
};

TEST_F(DiskCacheTest, OutlivesTheProcess) {
  {
    auto cache = open();
    put(*cache, 1, 5);
    put(*cache, 2, 3, 77);
    cache->flush();
    EXPECT_EQ(check(*cache, 1, 9), 5);
    EXPECT_EQ(check(*cache, 2, 3), 0) << "another domain";
  }
  auto cache = open();
  EXPECT_EQ(check(*cache, 1, 5), 5);
  EXPECT_EQ(check(*cache, 2, 3, 77), 3);
  EXPECT_EQ(cache->stats().records, 8U);
  const auto again = put(*cache, 1, 7);
  cache->flush();
  EXPECT_EQ(cache->stats().written, 2U) << "what is there is not written again";
  EXPECT_EQ(again.size(), 7U);
  EXPECT_EQ(check(*cache, 1, 7), 7);
}

TEST_F(DiskCacheTest, AnotherModelFindsNothingAndHarmsNothing) {
  { put(*open(), 1, 4); }
  {
    auto other = open(1 << 20, "model b");
    EXPECT_EQ(check(*other, 1, 4), 0);
    put(*other, 1, 2);
    other->flush();
    EXPECT_EQ(check(*other, 1, 4), 2);
  }
  EXPECT_EQ(check(*open(), 1, 4), 4);
}

TEST_F(DiskCacheTest, ASecondProcessReadsOnly) {
  auto owner = open();
  put(*owner, 1, 3);
  owner->flush();
  auto second = open();
  EXPECT_NE(second->read_only_reason(), "");
  EXPECT_EQ(check(*second, 1, 3), 3);
  EXPECT_EQ(put(*second, 2, 1).front(), 0U);
  owner.reset();
  EXPECT_EQ(open()->read_only_reason(), "");
}

TEST_F(DiskCacheTest, EveryTruncationLeavesAPrefix) {
  { put(*open(), 1, 3); }
  const fs::path path = segments().front();
  const std::string good = contents(path);
  for (size_t n = 0; n <= good.size(); ++n) {
    std::ofstream(path, std::ios::binary) << good.substr(0, n);
    auto cache = open();
    const int expected =
        static_cast<int>(n < good.size() - 3 * (Segment::kRecordHeader + kBlock)
                             ? 0
                             : (n - (good.size() - 3 * (Segment::kRecordHeader + kBlock))) /
                                   (Segment::kRecordHeader + kBlock));
    ASSERT_EQ(check(*cache, 1, 3), expected) << n;
  }
}

TEST_F(DiskCacheTest, EveryFlippedByteIsNoticed) {
  { put(*open(), 1, 3); }
  const fs::path path = segments().front();
  const std::string good = contents(path);
  const size_t record = Segment::kRecordHeader + kBlock;
  const size_t first = good.size() - 3 * record;
  for (size_t n = 0; n < good.size(); ++n) {
    std::string bad = good;
    bad[n] = static_cast<char>(bad[n] ^ (1 << (n % 8)));
    std::ofstream(path, std::ios::binary) << bad;
    auto cache = open();
    const int expected = n < first ? 0 : static_cast<int>((n - first) / record);
    ASSERT_EQ(check(*cache, 1, 3), expected) << n;  // check() fails on foreign content
  }
}

TEST_F(DiskCacheTest, StaysBelowItsSizeAndKeepsWhatIsHit) {
  constexpr uint64_t kMax = 40 * (Segment::kRecordHeader + kBlock);
  auto cache = open(kMax);
  put(*cache, 0, 2);
  cache->flush();
  for (int chain = 1; chain < 120; ++chain) {
    put(*cache, chain, 2);
    cache->flush();
    if (chain % 3 == 0) {
      ASSERT_EQ(check(*cache, 0, 2), 2) << "hit again and again, " << chain;
    }
    uint64_t bytes = 0;
    for (const fs::path& path : segments()) bytes += fs::file_size(path);
    ASSERT_LE(bytes, kMax);
  }
  EXPECT_EQ(check(*cache, 1, 2), 0) << "never hit";
  EXPECT_EQ(check(*cache, 119, 2), 2);
  cache.reset();
  auto again = open(kMax);
  EXPECT_EQ(check(*again, 0, 2), 2);
  EXPECT_EQ(check(*again, 119, 2), 2);
}

TEST_F(DiskCacheTest, AFullDiskEndsWritingOnly) {
  const pid_t child = fork();
  if (child == 0) {  // the limit is for ever, so it gets a process of its own
    signal(SIGXFSZ, SIG_IGN);
    auto cache = open();
    put(*cache, 1, 2);
    cache->flush();
    const rlim_t size = fs::file_size(segments().front()) + Segment::kRecordHeader + kBlock + 100;
    const rlimit limit{size, size};
    setrlimit(RLIMIT_FSIZE, &limit);
    put(*cache, 1, 4);
    cache->flush();
    const auto stats = cache->stats();
    bool good = stats.write_errors == 1 && !cache->read_only_reason().empty();
    good = good && check(*cache, 1, 4) >= 2 && put(*cache, 5, 1).front() == 0;
    cache.reset();
    _exit(good && !HasFailure() ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  auto cache = open();
  const int left = check(*cache, 1, 4);
  EXPECT_GE(left, 2);
  put(*cache, 1, 4);
  cache->flush();
  EXPECT_EQ(check(*cache, 1, 4), 4);
}

TEST_F(DiskCacheTest, KilledAtAnyMomentItLosesNothingThatWasDurable) {
  std::mt19937 random(3);
  const char* kills = std::getenv("SERVAL_TORTURE_KILLS");
  const int rounds = kills != nullptr ? std::atoi(kills) : 25;
  int durable_before = 0;
  for (int round = 0; round < rounds; ++round) {
    int pipe_ends[2];
    ASSERT_EQ(pipe(pipe_ends), 0);
    const pid_t child = fork();
    if (child == 0) {
      auto cache = open(60'000);
      for (int chain = 1;; ++chain) {
        put(*cache, round * 10'000 + chain, 4);
        cache->flush();
        if (write(pipe_ends[1], &chain, sizeof chain) != sizeof chain) _exit(1);
      }
    }
    close(pipe_ends[1]);
    usleep(static_cast<useconds_t>(1000 + random() % 30'000));
    kill(child, SIGKILL);
    int last = 0;
    for (int chain = 0; read(pipe_ends[0], &chain, sizeof chain) == sizeof chain;) last = chain;
    close(pipe_ends[0]);
    waitpid(child, nullptr, 0);
    auto cache = open(60'000);
    ASSERT_EQ(cache->read_only_reason(), "");
    // 60,000 bytes hold about 30 chains; the newest must all be there.
    for (int chain = std::max(1, last - 10); chain <= last; ++chain) {
      ASSERT_EQ(check(*cache, round * 10'000 + chain, 4), 4) << round << " " << chain;
    }
    check(*cache, round * 10'000 + last + 1, 4);  // absent, or exactly right
    durable_before += last;
  }
  EXPECT_GT(durable_before, rounds);
}

TEST_F(DiskCacheTest, TheQueueIsBounded) {
  DiskCacheConfig config{folder_.string(), 1 << 24, {"m", 1 << 16}, 1 << 18};
  DiskCache cache(config);
  for (int i = 0; i < 200; ++i) {
    cache.put(0, 0, tokens(i, 1), [](std::span<std::byte>) {});
  }
  cache.flush();
  const auto stats = cache.stats();
  EXPECT_EQ(stats.written + stats.dropped, 200U);
  EXPECT_GE(stats.written, 4U);
}

}  // namespace
}  // namespace serval
