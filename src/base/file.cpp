// Reads use pread and writes a private buffer; both loops absorb short transfers and EINTR.
// Durability follows the usual order: data fsync, rename, directory fsync.
#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "base/check.h"

namespace serval {
namespace {

constexpr size_t kWriteBuffer = 1024 * 1024;
// The kernel transfers at most about 2 GiB per call.
constexpr size_t kMaxTransfer = size_t{1} << 30;

std::string system_message(int error) { return std::generic_category().message(error); }

std::string directory_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

void sync_directory(const std::string& directory) {
  const int descriptor = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) {
    throw Error(ErrorCode::kIo, directory +
                                    ": cannot open the directory to make a rename "
                                    "durable: " +
                                    system_message(errno));
  }
  const int result = ::fsync(descriptor);
  const int error = errno;
  ::close(descriptor);
  // Some network file systems do not offer directory fsync; their rename is what it is.
  if (result != 0 && error != EINVAL && error != ENOTSUP) {
    throw Error(ErrorCode::kIo, directory + ": fsync failed: " + system_message(error));
  }
}

File::File(std::string path, int descriptor, uint64_t size)
    : path_(std::move(path)), descriptor_(descriptor), size_(size) {}

File::File(File&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      size_(other.size_) {}

File& File::operator=(File&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(size_, other.size_);
  return *this;
}

File::~File() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

File File::open(const std::string& path) {
  // O_NONBLOCK: opening a named pipe must not wait for a writer.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) {
    if (errno == ENOENT || errno == ENOTDIR) {
      throw Error(ErrorCode::kNotFound, path + ": no such file");
    }
    throw Error(ErrorCode::kIo, path + ": cannot open: " + system_message(errno));
  }
  File file(path, descriptor, 0);
  struct stat status = {};
  if (::fstat(descriptor, &status) != 0) {
    throw Error(ErrorCode::kIo, path + ": cannot stat: " + system_message(errno));
  }
  if (S_ISDIR(status.st_mode)) {
    throw Error(ErrorCode::kInvalidArgument, path + ": is a directory, a file is needed");
  }
  if (!S_ISREG(status.st_mode)) {
    throw Error(ErrorCode::kInvalidArgument, path + ": is not a regular file");
  }
  file.size_ = static_cast<uint64_t>(status.st_size);
  return file;
}

void File::read_at(uint64_t offset, std::span<std::byte> out) const {
  SERVAL_CHECK(offset <= size_ && out.size() <= size_ - offset);
  while (!out.empty()) {
    const size_t piece = std::min(out.size(), kMaxTransfer);
    const ssize_t got = ::pread(descriptor_, out.data(), piece, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      throw Error(ErrorCode::kIo, path_ + ": read at offset " + std::to_string(offset) +
                                      " failed: " + system_message(errno));
    }
    if (got == 0) {
      throw Error(ErrorCode::kIo, path_ + ": the file became shorter while it was being read");
    }
    offset += static_cast<uint64_t>(got);
    out = out.subspan(static_cast<size_t>(got));
  }
}

bool File::same_file(const std::string& other_path) const {
  struct stat mine = {};
  struct stat other = {};
  if (::fstat(descriptor_, &mine) != 0 || ::stat(other_path.c_str(), &other) != 0) return false;
  return mine.st_dev == other.st_dev && mine.st_ino == other.st_ino;
}

std::string read_text_file(const std::string& path, uint64_t max_bytes) {
  const File file = File::open(path);
  if (file.size() > max_bytes) {
    throw Error(ErrorCode::kInvalidArgument, path + ": has " + std::to_string(file.size()) +
                                                 " bytes, the limit is " +
                                                 std::to_string(max_bytes));
  }
  std::string text(static_cast<size_t>(file.size()), '\0');
  file.read_at(0, std::as_writable_bytes(std::span(text)));
  return text;
}

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)) {
  static std::atomic<uint64_t> counter{0};  // two writers in one process get different names
  temporary_ = path_ + ".tmp." + std::to_string(::getpid()) + "." + std::to_string(counter++);
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor_ < 0) {
    const int error = errno;
    temporary_.clear();
    errno = error;
    fail("cannot create a temporary file beside it");
  }
  buffer_.reserve(kWriteBuffer);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::fail(const char* action) const {
  throw Error(ErrorCode::kIo, path_ + ": " + action + ": " + system_message(errno));
}

void AtomicFile::write_through(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(descriptor_, bytes.data(), std::min(bytes.size(), kMaxTransfer));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) fail("write failed");
    bytes = bytes.subspan(static_cast<size_t>(put));
  }
}

void AtomicFile::flush() {
  write_through(buffer_);
  buffer_.clear();
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  SERVAL_CHECK(descriptor_ >= 0);
  if (buffer_.size() + bytes.size() > kWriteBuffer) flush();
  if (bytes.size() >= kWriteBuffer) {
    write_through(bytes);
  } else {
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  }
}

void AtomicFile::write(std::string_view text) { write(std::as_bytes(std::span(text))); }

void AtomicFile::commit(const std::function<void(const std::string&)>& verify) {
  SERVAL_CHECK(descriptor_ >= 0);
  flush();
  if (::fsync(descriptor_) != 0) fail("fsync failed");
  if (::close(std::exchange(descriptor_, -1)) != 0) fail("close failed");
  if (verify) verify(temporary_);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail("rename into place failed");
  temporary_.clear();
  sync_directory(directory_of(path_));
}

}  // namespace serval
