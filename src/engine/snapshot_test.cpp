#include "engine/snapshot.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/xxh64.h"

namespace serval {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

// Values published with the specification and its reference implementation.
TEST(Xxh64, KnownAnswers) {
  EXPECT_EQ(xxh64({}), 0xEF46DB3751D8E999ULL);
  EXPECT_EQ(xxh64(bytes_of("a")), 0xD24EC4F1A98C6E5BULL);
  EXPECT_EQ(xxh64(bytes_of("abc")), 0x44BC2CF5AD770999ULL);
  EXPECT_EQ(xxh64(bytes_of("Nobody inspects the spammish repetition")), 0xFBCEA83C8A378BF1ULL);
}

TEST(Xxh64, PiecesDoNotMatter) {
  const std::string text(1000, 'q');
  for (size_t piece = 1; piece < 70; ++piece) {
    Xxh64 hash(5);
    for (size_t at = 0; at < text.size(); at += piece) hash.update(text.substr(at, piece));
    hash.update(std::span<const std::byte>());
    EXPECT_EQ(hash.digest(), xxh64(bytes_of(text), 5));
  }
}

TEST(Snapshot, EveryTruncationAndEveryFlippedByteIsNoticed) {
  const std::string path =
      (std::filesystem::path(::testing::TempDir()) / (std::to_string(getpid()) + "s.kv")).string();
  SnapshotHeader header{{1, "shape", "f16", "numerics"}, std::vector<TokenId>(70, 3), 2, 16};
  {
    SnapshotWriter writer(path, header);
    writer.add_block(bytes_of("0123456789abcdef"));
    writer.add_block(bytes_of("fedcba9876543210"));
    writer.commit();
  }
  std::ifstream in(path, std::ios::binary);
  const std::string good((std::istreambuf_iterator<char>(in)), {});
  const auto opens = [&](const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
    try {
      const SnapshotReader reader(path);
      std::byte block[16];
      for (int i = 0; i < reader.header().blocks; ++i) reader.read_block(i, block);
      return true;
    } catch (const Error&) {
      return false;
    }
  };
  EXPECT_TRUE(opens(good));
  for (size_t n = 0; n < good.size(); ++n) {
    EXPECT_FALSE(opens(good.substr(0, n))) << n;
    std::string flipped = good;
    flipped[n] = static_cast<char>(flipped[n] ^ 1);
    EXPECT_FALSE(opens(flipped)) << n;
  }
  // Exchanged blocks, each with its own checksum.
  std::string exchanged = good;
  std::swap_ranges(exchanged.end() - 48, exchanged.end() - 24, exchanged.end() - 24);
  EXPECT_FALSE(opens(exchanged));
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace serval
