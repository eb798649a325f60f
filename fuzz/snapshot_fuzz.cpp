// Any bytes as a KV snapshot and as a segment of the persistent cache: what is wrong with them is
// said by an Error or a refusal, and nothing is allocated that the file does not pay for.
//
// A checksum that does not fit stops a fuzzer at the first door, so a first pass mends the
// checksums of a snapshot that is laid out well enough to have them.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/xxh64.h"
#include "engine/snapshot.h"
#include "kvdisk/segment.h"

namespace serval {
namespace {

constexpr size_t kLengthOffset = 12, kTokensOffset = 20, kTextsOffset = 44;
constexpr int kTexts = 3;

// A file that only memory holds, under a name that open() understands.
class MemoryFile {
 public:
  explicit MemoryFile(std::span<const uint8_t> bytes) : descriptor_(::memfd_create("fuzz", 0)) {
    SERVAL_CHECK(::write(descriptor_, bytes.data(), bytes.size()) ==
                 static_cast<ssize_t>(bytes.size()));
  }
  ~MemoryFile() { ::close(descriptor_); }
  std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

uint32_t number_at(const std::vector<uint8_t>& bytes, size_t offset) {
  uint32_t value = 0;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

// Writes the checksum of [begin, end) at `end`. False when the file ends before.
bool seal(std::vector<uint8_t>& bytes, size_t begin, size_t end) {
  if (end > bytes.size() || bytes.size() - end < 8) return false;
  const uint64_t sum = xxh64(std::as_bytes(std::span(bytes)).subspan(begin, end - begin));
  std::memcpy(bytes.data() + end, &sum, sizeof sum);
  return true;
}

void mend(std::vector<uint8_t>& bytes) {
  if (bytes.size() < kTextsOffset) return;
  const uint64_t length = bytes.size();
  std::memcpy(bytes.data() + kLengthOffset, &length, sizeof length);
  size_t at = kTextsOffset;
  for (int i = 0; i < kTexts; ++i) {
    if (bytes.size() - at < 4) return;
    const uint32_t size = number_at(bytes, at);
    at += 4;
    if (bytes.size() - at < size) return;
    at += size;
  }
  if (!seal(bytes, 0, at)) return;
  const uint64_t tokens = number_at(bytes, kTokensOffset);
  seal(bytes, at + 8, at + 8 + tokens * 4);
}

void read_snapshot(std::span<const uint8_t> bytes) {
  const MemoryFile file(bytes);
  try {
    const SnapshotReader reader(file.path());
    const SnapshotHeader& header = reader.header();
    SERVAL_CHECK(header.tokens.size() * 4 <= bytes.size());
    if (header.blocks == 0) return;
    SERVAL_CHECK(header.block_bytes <= bytes.size() / static_cast<size_t>(header.blocks));
    std::vector<std::byte> block(header.block_bytes);
    for (int i = 0; i < header.blocks; ++i) reader.read_block(i, block);
  } catch (const Error& error) {
    SERVAL_CHECK(!error.message().empty());
  }
}

void read_segment(std::span<const uint8_t> bytes) {
  const MemoryFile file(bytes);
  const SegmentKind kind = {"fuzz", 16};
  const auto segment = Segment::open(file.path(), 1, kind, /*writable=*/true);
  if (segment == nullptr) return;
  for (const Segment::Found& found : segment->scan()) {
    SERVAL_CHECK(found.offset <= bytes.size());
    std::byte payload[16];
    segment->read(found.offset, found.record.id, payload);
  }
}

}  // namespace
}  // namespace serval

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace serval;
  const std::span<const uint8_t> bytes(data, size);
  read_snapshot(bytes);
  std::vector<uint8_t> mended(data, data + size);
  mend(mended);
  read_snapshot(mended);
  read_segment(bytes);
  return 0;
}
