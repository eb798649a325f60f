// Segment: one append-only file of KV blocks. Layout: docs/formats/kv-cache.md.
//
// A record names its block by an id that never changes and its predecessor by that one's id, so a
// chain of blocks is exact: no hash stands for content. A record is proven in two steps: its header
// when the file is scanned, its payload when it is read.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "serval/request.h"

namespace serval {

inline constexpr size_t kRecordTokens = 32;

struct KvRecord {
  uint64_t id = 0;      // from 1
  uint64_t parent = 0;  // 0: the first block of a chain
  uint64_t domain = 0;  // who may find it
  std::array<TokenId, kRecordTokens> tokens{};
};

// What a segment's blocks mean something to.
struct SegmentKind {
  std::string identity;  // model, KV type, numerics: equal or not, at most 1,000 bytes
  uint64_t block_bytes = 0;
  bool operator==(const SegmentKind&) const = default;
};

// Thread-safe but for append() and cut(), which belong to one writer.
class Segment {
 public:
  static constexpr size_t kRecordHeader = 184;

  // A new file, durable under its name. Throws Error(kIo).
  static std::shared_ptr<Segment> create(const std::string& path, uint64_t number,
                                         const SegmentKind& kind);
  // An existing file; null when it is no intact segment of that kind.
  static std::shared_ptr<Segment> open(const std::string& path, uint64_t number,
                                       const SegmentKind& kind, bool writable);
  ~Segment();
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;

  const std::string& path() const { return path_; }
  uint64_t number() const { return number_; }
  uint64_t size() const { return size_; }

  struct Found {
    KvRecord record;
    uint64_t offset = 0;
  };
  // The records up to the first that is torn or damaged, whose headers were verified. A writer cuts
  // off what follows them.
  std::vector<Found> scan();

  // Appends a record and returns its offset; durable after sync(). Throws Error(kIo), and then the
  // file ends where it did before, as far as the system lets us.
  uint64_t append(const KvRecord& record, std::span<const std::byte> payload);
  void sync();
  // Reads and verifies the whole record. False: damaged, or not the one with that id.
  bool read(uint64_t offset, uint64_t id, std::span<std::byte> payload) const;

 private:
  Segment(std::string path, uint64_t number, int descriptor, uint64_t block_bytes);
  std::optional<KvRecord> read_header(uint64_t offset, uint64_t* payload_checksum) const;
  void cut(uint64_t size);

  const std::string path_;
  const uint64_t number_;
  const int descriptor_;
  const uint64_t block_bytes_;
  uint64_t first_record_ = 0;
  uint64_t size_ = 0;
  bool writable_ = true;
};

}  // namespace serval
