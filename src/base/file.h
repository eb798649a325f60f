// Files: an owned descriptor that reads exactly what was asked, and a durable atomic writer.
// All functions throw Error(kNotFound / kIo / kInvalidArgument) with a message naming the path.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace serval {

// A regular file open for reading. Reads are positioned, so all const members are thread-safe.
class File final : public ByteSource {
 public:
  // Refuses directories, devices and pipes, which could block or never end.
  static File open(const std::string& path);
  ~File() override;
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;

  const std::string& path() const { return path_; }
  int descriptor() const { return descriptor_; }
  uint64_t size() const override { return size_; }  // at the time of open
  void read_at(uint64_t offset, std::span<std::byte> out) const override;
  // True when both are open on the same file, whatever their names.
  bool same_file(const std::string& other_path) const;

 private:
  File(std::string path, int descriptor, uint64_t size);
  std::string path_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
};

// Makes what was renamed, created or deleted in the directory durable.
void sync_directory(const std::string& directory);

std::string read_text_file(const std::string& path, uint64_t max_bytes);

// Writes a file that appears under its name complete or not at all: a temporary file beside it,
// fsync, rename over the target, fsync of the directory. Destroyed before commit(): nothing
// remains. Not thread-safe.
class AtomicFile final : public ByteSink {
 public:
  explicit AtomicFile(std::string path);
  ~AtomicFile() override;
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  const std::string& path() const { return path_; }
  void write(std::span<const std::byte> bytes) override;
  void write(std::string_view text);
  // Makes the file durable under its name. `verify`, when given, is called with the path of the
  // complete temporary file; what it throws cancels the commit. After an Error nothing was
  // replaced.
  void commit(const std::function<void(const std::string& temporary)>& verify = {});

 private:
  void flush();
  void write_through(std::span<const std::byte> bytes);
  [[noreturn]] void fail(const char* action) const;

  std::string path_;
  std::string temporary_;
  int descriptor_ = -1;
  std::vector<std::byte> buffer_;
};

}  // namespace serval
