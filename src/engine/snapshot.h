// Snapshot files: the KV blocks of a prompt on disk. Layout: docs/formats/snapshot.md.
//
// The writer publishes the file atomically; the reader verifies the header and the tokens when it
// opens the file and every block when it reads it, so nothing unverified ever reaches live KV. A
// block's bytes mean something only to the same model, KV type and numerics: the fingerprint.
// Not thread-safe; one user at a time.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "engine/loader.h"
#include "serval/request.h"

namespace serval {

struct Fingerprint {
  uint64_t model = 0;    // digest of the file's metadata, tensor table and samples of every tensor
  std::string shape;     // "llama, 30 layers, 3 x 64"
  std::string kv_type;   // "f16"
  std::string numerics;  // BackendInfo::numerics_id
};
// Reads a few kilobytes of every tensor. Throws Error(kIo).
Fingerprint fingerprint(LoadedModel& loaded);

struct SnapshotHeader {
  Fingerprint fingerprint;
  std::vector<TokenId> tokens;
  int blocks = 0;            // whole blocks of tokens
  uint64_t block_bytes = 0;  // of each
};

class SnapshotWriter {
 public:
  // Throws Error(kIo) now or later; then nothing exists under `path` that did not before.
  SnapshotWriter(const std::string& path, const SnapshotHeader& header);
  void add_block(std::span<const std::byte> bytes);  // in order, header.blocks times
  void commit();
  uint64_t bytes() const { return bytes_; }

 private:
  void put(std::span<const std::byte> bytes);
  void put_checksum(uint64_t checksum);

  AtomicFile file_;
  int blocks_written_ = 0;
  int blocks_;
  uint64_t bytes_ = 0;
};

class SnapshotReader {
 public:
  // Throws Error(kNotFound / kIo / kCorrupt / kUnsupported).
  explicit SnapshotReader(const std::string& path);

  const SnapshotHeader& header() const { return header_; }
  uint64_t bytes() const { return file_.size(); }
  // Throws Error(kInvalidArgument) saying what differs.
  void require(const Fingerprint& expected, uint64_t block_bytes) const;
  // Throws Error(kCorrupt) if the bytes are not those written. REQUIRES: out.size() == block_bytes.
  void read_block(int index, std::span<std::byte> out) const;

 private:
  File file_;
  SnapshotHeader header_;
  uint64_t blocks_offset_ = 0;
};

}  // namespace serval
