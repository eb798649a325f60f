#include "base/bytes.h"

#include <numeric>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace serval {
namespace {

std::vector<std::byte> counting(size_t count) {
  std::vector<std::byte> bytes(count);
  for (size_t n = 0; n < count; ++n) bytes[n] = static_cast<std::byte>(n * 31 + (n >> 8));
  return bytes;
}

TEST(ByteReader, ReadsAcrossEveryWindowBorder) {
  // Pieces of odd sizes over several windows; each byte must arrive once, in order.
  const auto bytes = counting(5 * ByteReader::kMaxTake + 123);
  const MemorySource source(bytes);
  ByteReader reader(source, "image");
  size_t at = 0;
  for (size_t piece = 1; reader.left() > 0; piece = piece * 7 % 60'001 + 1) {
    const auto count = static_cast<size_t>(std::min<uint64_t>(piece, reader.left()));
    const auto taken = reader.take(count, "piece");
    ASSERT_TRUE(std::equal(taken.begin(), taken.end(), bytes.begin() + static_cast<long>(at)));
    at += count;
    ASSERT_EQ(reader.offset(), at);
  }
  EXPECT_EQ(at, bytes.size());
}

TEST(ByteReader, RefusesOneByteTooMany) {
  const auto bytes = counting(7);
  const MemorySource source(bytes);
  ByteReader reader(source, "image");
  EXPECT_EQ(reader.read<uint32_t>("number"), 0x5D3E1F00u);
  try {
    reader.read<uint32_t>("number");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
    EXPECT_EQ(error.message(), "image: offset 4: number needs 4 bytes, but the file has 3 left");
  }
}

TEST(ByteReader, RequireDoesNotWrap) {
  const MemorySource source(counting(64));
  ByteReader reader(source, "image");
  reader.require(8, 8, "items");
  EXPECT_THROW(reader.require(9, 8, "items"), Error);
  EXPECT_THROW(reader.require((UINT64_MAX / 8) + 2, 8, "items"), Error);
  EXPECT_THROW(reader.require(UINT64_MAX, 1, "items"), Error);
}

TEST(ByteReader, AppendGrowsOnlyWithBytesPresent) {
  const auto bytes = counting(3 * ByteReader::kMaxTake);
  const MemorySource source(bytes);
  ByteReader reader(source, "image");
  std::string text;
  EXPECT_THROW(reader.append_to(text, bytes.size() + 1, "text"), Error);
  EXPECT_LT(text.capacity(), 64u);
  reader.append_to(text, bytes.size(), "text");
  EXPECT_EQ(std::memcmp(text.data(), bytes.data(), bytes.size()), 0);
}

TEST(ByteReader, EmptySource) {
  const MemorySource source({});
  ByteReader reader(source, "image");
  EXPECT_EQ(reader.take(0, "nothing").size(), 0u);
  EXPECT_THROW(reader.take(1, "byte"), Error);
}

}  // namespace
}  // namespace serval
