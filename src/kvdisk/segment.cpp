// Everything in a segment has a fixed size once its header is known, so a scan steps from record to
// record; the first one that does not verify ends it, because only the tail of an append-only file
// can be torn. fdatasync is what makes a record durable; it also writes the file's length.
#include "kvdisk/segment.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "base/bytes.h"
#include "base/check.h"
#include "base/file.h"
#include "base/xxh64.h"

namespace serval {
namespace {

constexpr std::string_view kMagic = "SERVALKS";
constexpr uint32_t kVersion = 1;
constexpr uint32_t kRecordMagic = 0x43525653;  // "SVRC"
constexpr size_t kMaxIdentity = 1000;
constexpr size_t kFixedHeader = 8 + 4 + 4 + 8 + 8 + 4;

// As it stands in the file.
struct RawRecord {
  uint32_t magic = kRecordMagic;
  uint32_t token_count = kRecordTokens;
  uint64_t id = 0, parent = 0, domain = 0;
  uint64_t payload_bytes = 0;
  std::array<TokenId, kRecordTokens> tokens{};
  uint64_t payload_checksum = 0;
  uint64_t header_checksum = 0;  // of all above
};
static_assert(sizeof(RawRecord) == Segment::kRecordHeader);

uint64_t header_checksum(const RawRecord& raw) {
  return xxh64(std::as_bytes(std::span(&raw, 1)).first(offsetof(RawRecord, header_checksum)));
}

[[noreturn]] void fail(const std::string& path, const char* action) {
  throw Error(ErrorCode::kIo, path + ": " + action + ": " + std::generic_category().message(errno));
}

bool pread_all(int descriptor, uint64_t offset, std::span<std::byte> out) {
  while (!out.empty()) {
    const ssize_t got = ::pread(descriptor, out.data(), out.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    offset += static_cast<uint64_t>(got);
    out = out.subspan(static_cast<size_t>(got));
  }
  return true;
}

bool pwrite_all(int descriptor, uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t put =
        ::pwrite(descriptor, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return false;
    offset += static_cast<uint64_t>(put);
    bytes = bytes.subspan(static_cast<size_t>(put));
  }
  return true;
}

std::string header_bytes(uint64_t number, const SegmentKind& kind) {
  std::string out(kMagic);
  const auto add = [&](auto value) {
    out.append(reinterpret_cast<const char*>(&value), sizeof(value));
  };
  add(kVersion);
  add(static_cast<uint32_t>(kFixedHeader + kind.identity.size() + sizeof(uint64_t)));
  add(number);
  add(kind.block_bytes);
  add(static_cast<uint32_t>(kind.identity.size()));
  out += kind.identity;
  add(xxh64(std::as_bytes(std::span(out))));
  return out;
}

}  // namespace

Segment::Segment(std::string path, uint64_t number, int descriptor, uint64_t block_bytes)
    : path_(std::move(path)), number_(number), descriptor_(descriptor), block_bytes_(block_bytes) {}

Segment::~Segment() { ::close(descriptor_); }

std::shared_ptr<Segment> Segment::create(const std::string& path, uint64_t number,
                                         const SegmentKind& kind) {
  SERVAL_CHECK(kind.identity.size() <= kMaxIdentity);
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (descriptor < 0) fail(path, "cannot create");
  std::shared_ptr<Segment> segment(new Segment(path, number, descriptor, kind.block_bytes));
  const std::string header = header_bytes(number, kind);
  try {
    if (!pwrite_all(descriptor, 0, std::as_bytes(std::span(header)))) fail(path, "write failed");
    segment->first_record_ = segment->size_ = header.size();
    segment->sync();
    sync_directory(std::filesystem::path(path).parent_path().string());
  } catch (const Error&) {
    ::unlink(path.c_str());
    throw;
  }
  return segment;
}

// Its header is the one that we would write: whatever else it is, it is not ours to read.
std::shared_ptr<Segment> Segment::open(const std::string& path, uint64_t number,
                                       const SegmentKind& kind, bool writable) {
  const int descriptor =
      ::open(path.c_str(), (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (descriptor < 0) return nullptr;
  std::shared_ptr<Segment> segment(new Segment(path, number, descriptor, kind.block_bytes));
  segment->writable_ = writable;
  struct stat status = {};
  if (::fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) return nullptr;
  segment->size_ = static_cast<uint64_t>(status.st_size);
  const std::string expected = header_bytes(number, kind);
  std::string found(expected.size(), '\0');
  if (segment->size_ < expected.size() ||
      !pread_all(descriptor, 0, std::as_writable_bytes(std::span(found))) || found != expected) {
    return nullptr;
  }
  segment->first_record_ = expected.size();
  return segment;
}

std::optional<KvRecord> Segment::read_header(uint64_t offset, uint64_t* payload_checksum) const {
  RawRecord raw;
  if (!pread_all(descriptor_, offset, std::as_writable_bytes(std::span(&raw, 1)))) return {};
  if (raw.magic != kRecordMagic || raw.token_count != kRecordTokens ||
      raw.payload_bytes != block_bytes_ || raw.id == 0 ||
      raw.header_checksum != header_checksum(raw)) {
    return {};
  }
  *payload_checksum = raw.payload_checksum;
  return KvRecord{raw.id, raw.parent, raw.domain, raw.tokens};
}

std::vector<Segment::Found> Segment::scan() {
  std::vector<Found> found;
  const uint64_t record_bytes = kRecordHeader + block_bytes_;
  uint64_t offset = first_record_;
  for (; size_ - offset >= record_bytes; offset += record_bytes) {
    uint64_t ignored = 0;
    auto record = read_header(offset, &ignored);
    if (!record) break;
    found.push_back({*record, offset});
  }
  if (writable_) {
    if (offset < size_) cut(offset);
  } else {
    size_ = offset;
  }
  return found;
}

void Segment::cut(uint64_t size) {
  if (::ftruncate(descriptor_, static_cast<off_t>(size)) == 0) size_ = size;
}

uint64_t Segment::append(const KvRecord& record, std::span<const std::byte> payload) {
  SERVAL_CHECK(payload.size() == block_bytes_ && record.id != 0);
  RawRecord raw;
  raw.id = record.id;
  raw.parent = record.parent;
  raw.domain = record.domain;
  raw.payload_bytes = payload.size();
  raw.tokens = record.tokens;
  raw.payload_checksum = xxh64(payload, record.id);
  raw.header_checksum = header_checksum(raw);
  const uint64_t offset = size_;
  if (!pwrite_all(descriptor_, offset, std::as_bytes(std::span(&raw, 1))) ||
      !pwrite_all(descriptor_, offset + kRecordHeader, payload)) {
    const int error = errno;
    cut(offset);
    errno = error;
    fail(path_, "write failed");
  }
  size_ = offset + kRecordHeader + payload.size();
  return offset;
}

void Segment::sync() {
  if (::fdatasync(descriptor_) != 0) fail(path_, "fdatasync failed");
}

bool Segment::read(uint64_t offset, uint64_t id, std::span<std::byte> payload) const {
  SERVAL_CHECK(payload.size() == block_bytes_);
  uint64_t checksum = 0;
  const auto record = read_header(offset, &checksum);
  return record && record->id == id && pread_all(descriptor_, offset + kRecordHeader, payload) &&
         xxh64(payload, id) == checksum;
}

}  // namespace serval
