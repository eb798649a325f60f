// ModelFolder: the installed models under one directory, one folder per id:
//
//   <root>/smollm2:135m/model.json                      what it is: written last, so a model exists
//                                                       exactly when this file does
//                       SmolLM2-135M-b179c9523d0e.gguf  named by its digest
//                       .download/                      bytes of an unfinished pull
//                       .lock                           held while somebody changes the folder
//
// Any number of processes may read; writers of one id exclude each other with the lock.
// All members throw Error(kIo / kNotFound / kResourceExhausted) naming the path.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace serval {

struct InstalledModel {
  std::string id;
  std::string path;    // of the GGUF file
  std::string source;  // as it was asked for
  std::string sha256;
  uint64_t bytes = 0;
  std::string date;     // ISO 8601, UTC
  bool pinned = false;  // the checksum was known before the download
};

// Ids are what people type and folders are called: [a-z0-9._:-], at most 128 bytes, not hidden.
bool is_model_id(std::string_view text);

// Exclusive right to change one model's folder; given back on destruction or death.
class FolderLock {
 public:
  // Throws Error(kResourceExhausted) at once when another process holds it.
  FolderLock(const std::string& folder, const std::string& id);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int descriptor_ = -1;
};

class ModelFolder {
 public:
  // Does not touch the disk.
  explicit ModelFolder(std::string root) : root_(std::move(root)) {}

  const std::string& root() const { return root_; }
  std::string folder(std::string_view id) const;

  // nullopt: not installed. A damaged model.json counts as not installed.
  std::optional<InstalledModel> find(std::string_view id) const;
  std::vector<InstalledModel> list() const;     // sorted by id
  std::vector<std::string> unfinished() const;  // ids with a started download

  // Creates the folder of an id with its parents. The error names the folder, the user and what to
  // do.
  std::string create(std::string_view id) const;
  // Publishes a complete file lying in the id's folder. REQUIRES: the caller holds the lock, and
  // the file is durable. Replaces what was installed under the id.
  void publish(const InstalledModel& model) const;
  // Removes a model with its unfinished downloads; returns the bytes freed. Takes the lock.
  uint64_t remove(std::string_view id) const;

 private:
  std::string root_;
};

}  // namespace serval
