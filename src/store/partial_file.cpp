// The journal (state.json) names the source, how many of its parts are complete, and how many bytes
// are durable. After a kill the file is cut back to that length, so a resumed file never contains
// bytes that the disk did not confirm.
#include "store/partial_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/file.h"

namespace serval {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr uint64_t kCheckpointBytes = 16 << 20;
constexpr size_t kHashBuffer = 1 << 20;

[[noreturn]] void fail(const std::string& path, const char* action, int error) {
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  throw Error(ErrorCode::kIo,
              fmt::format("{}: {}: {}{}", path, action, std::generic_category().message(error),
                          full ? "; make room and run the same command again, it resumes" : ""));
}

uint64_t number_of(const json::object& record, std::string_view key) {
  const json::value* value = record.if_contains(key);
  if (value == nullptr || !value->is_int64() || value->get_int64() < 0) return 0;
  return static_cast<uint64_t>(value->get_int64());
}

}  // namespace

PartialFile::PartialFile(const std::string& model_folder, const std::string& key)
    : folder_(model_folder + "/.download"), key_(key) {
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) fail(folder_, "cannot create", error.value());
  read_journal(key);
  const std::string path = folder_ + "/model.part";
  descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor_ < 0) fail(path, "cannot open", errno);
  const off_t present = ::lseek(descriptor_, 0, SEEK_END);
  if (present < 0 || static_cast<uint64_t>(present) < durable_) {
    parts_ = 0;
    part_start_ = durable_ = 0;
    validator_.clear();
  }
  truncate(durable_);
  hash_existing();
}

PartialFile::~PartialFile() {
  if (descriptor_ < 0) return;
  try {
    checkpoint();
  } catch (const std::exception&) {
    // The journal still tells the truth about an earlier, shorter state.
  }
  ::close(descriptor_);
}

void PartialFile::read_journal(const std::string& key) {
  const std::string path = folder_ + "/state.json";
  std::error_code error;
  if (!fs::is_regular_file(path, error)) return;
  const json::value parsed = json::parse(read_text_file(path, 1 << 20), error);
  if (error || !parsed.is_object()) return;
  const json::object& record = parsed.get_object();
  const json::value* stored_key = record.if_contains("key");
  if (stored_key == nullptr || !stored_key->is_string() || stored_key->get_string() != key) return;
  durable_ = number_of(record, "bytes");
  part_start_ = std::min(number_of(record, "part_start"), durable_);
  parts_ = static_cast<int>(std::min<uint64_t>(number_of(record, "parts"), 10'000));
  const json::value* validator = record.if_contains("validator");
  if (validator != nullptr && validator->is_string()) validator_ = validator->get_string().c_str();
}

void PartialFile::truncate(uint64_t size) {
  if (::ftruncate(descriptor_, static_cast<off_t>(size)) != 0) {
    fail(folder_ + "/model.part", "cannot cut", errno);
  }
  ::lseek(descriptor_, static_cast<off_t>(size), SEEK_SET);
  size_ = size;
  durable_ = std::min(durable_, size);
}

void PartialFile::hash_existing() {
  hash_ = Sha256();
  std::vector<std::byte> buffer(kHashBuffer);
  uint64_t at = 0;
  while (at < size_) {
    const size_t want = static_cast<size_t>(std::min<uint64_t>(buffer.size(), size_ - at));
    const ssize_t got = ::pread(descriptor_, buffer.data(), want, static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) fail(folder_ + "/model.part", "cannot read back", got < 0 ? errno : EIO);
    hash_.update(std::span(buffer).first(static_cast<size_t>(got)));
    at += static_cast<uint64_t>(got);
  }
}

void PartialFile::append(std::span<const std::byte> bytes) {
  constexpr std::string_view kMagic = "GGUF";
  const size_t at = std::min<uint64_t>(size_, kMagic.size());  // pieces may be of any size
  const std::string_view wanted = kMagic.substr(at, bytes.size());
  const auto same = [](char a, std::byte b) { return std::byte{static_cast<uint8_t>(a)} == b; };
  if (!std::equal(wanted.begin(), wanted.end(), bytes.begin(), same)) {
    throw Error(ErrorCode::kCorrupt,
                "the source does not hold a GGUF file (its first bytes are not \"GGUF\"); nothing "
                "was kept");
  }
  hash_.update(bytes);
  while (!bytes.empty()) {
    const ssize_t put = ::write(descriptor_, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) {
      const int error = errno;
      // What could not be stored must not count as hashed either: the journal ends before it.
      ::ftruncate(descriptor_, static_cast<off_t>(durable_)) == 0 ? size_ = durable_ : size_;
      fail(folder_ + "/model.part", "write failed", error);
    }
    size_ += static_cast<uint64_t>(put);
    bytes = bytes.subspan(static_cast<size_t>(put));
  }
  if (size_ - durable_ >= kCheckpointBytes) checkpoint();
}

void PartialFile::restart_part(const std::string& validator) {
  validator_ = validator;
  if (size_ == part_start_) return;
  truncate(part_start_);
  hash_existing();
}

void PartialFile::finish_part() {
  ++parts_;
  part_start_ = size_;
  validator_.clear();
  checkpoint();
}

void PartialFile::checkpoint() {
  if (::fdatasync(descriptor_) != 0) fail(folder_ + "/model.part", "fsync failed", errno);
  json::object record;
  record["key"] = key_;
  record["parts"] = parts_;
  record["part_start"] = part_start_;
  record["bytes"] = size_;
  record["validator"] = validator_;
  AtomicFile out(folder_ + "/state.json");
  out.write(json::serialize(record) + "\n");
  out.commit();
  durable_ = size_;
}

std::string PartialFile::sha256() { return hash_.finish(); }

void PartialFile::publish_as(const std::string& path) {
  if (::fsync(descriptor_) != 0) fail(path, "fsync failed", errno);
  ::close(std::exchange(descriptor_, -1));
  const std::string part = folder_ + "/model.part";
  if (::rename(part.c_str(), path.c_str()) != 0) fail(path, "rename into place failed", errno);
  std::error_code ignored;
  fs::remove_all(folder_, ignored);  // model.json, written next, makes the rename durable
}

void PartialFile::discard() {
  if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

void require_free_space(const std::string& folder, uint64_t bytes) {
  struct statvfs status = {};
  if (::statvfs(folder.c_str(), &status) != 0)
    return;  // an exotic file system: the writes will tell
  const uint64_t free = static_cast<uint64_t>(status.f_bavail) * status.f_frsize;
  if (free < bytes) {
    throw Error(
        ErrorCode::kIo,
        fmt::format("{}: disk full: {:.1f} MB are needed, {:.1f} MB are free; make room or "
                    "set SERVAL_HOME to another disk",
                    folder, static_cast<double>(bytes) / 1e6, static_cast<double>(free) / 1e6));
  }
}

}  // namespace serval
