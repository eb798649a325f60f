// PartialFile: the bytes of an unfinished download, with a journal that survives kills. Bytes are
// only appended; the running SHA-256 covers all of them, also those of earlier calls. Owner: one
// pull, holding the folder's lock. Not thread-safe. Throws Error(kIo / kCorrupt).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/sha256.h"

namespace serval {

class PartialFile {
 public:
  // Opens or starts `<folder>/.download`. A journal with another key (another source) is discarded.
  PartialFile(const std::string& model_folder, const std::string& key);
  ~PartialFile();  // keeps everything for the next call
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;

  const std::string& folder() const { return folder_; }
  uint64_t size() const { return size_; }
  int parts() const { return parts_; }                         // complete sources, in order
  uint64_t part_start() const { return part_start_; }          // where the present source begins
  const std::string& validator() const { return validator_; }  // of the present source: its ETag

  void append(std::span<const std::byte> bytes);
  // The present source turned out to be another one than before: forget its bytes.
  void restart_part(const std::string& validator);
  void finish_part();
  // Durable up to here.
  void checkpoint();

  // Makes the file durable under its final name in the model folder, and removes the journal.
  // REQUIRES: verified. After this nothing else may be called.
  void publish_as(const std::string& path);
  // Removes everything.
  void discard();
  // Of all bytes. Ends the file: only publish_as and discard may follow.
  std::string sha256();

 private:
  void read_journal(const std::string& key);
  void hash_existing();
  void truncate(uint64_t size);

  std::string folder_, key_, validator_;
  int descriptor_ = -1;
  int parts_ = 0;
  uint64_t part_start_ = 0, size_ = 0, durable_ = 0;
  Sha256 hash_;
};

// Throws Error(kIo) when the file system of `folder` has less than `bytes` free.
void require_free_space(const std::string& folder, uint64_t bytes);

}  // namespace serval
