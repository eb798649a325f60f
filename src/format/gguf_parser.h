// The GGUF header parser behind GgufFile: bytes of one shard -> metadata and tensor table, all
// proven. Private to src/format.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "format/gguf.h"

namespace serval {

// One parsed shard. Plain data, complete or not made at all.
struct GgufShard {
  uint32_t version = 0;
  uint64_t alignment = 0;
  std::vector<GgufFile::Entry> metadata;  // in file order, keys unique
  std::vector<uint32_t> by_key;           // indices into metadata, sorted by key
  std::vector<GgufTensor> tensors;        // in file order; offsets absolute, ranges inside the file
};

class GgufParser {
 public:
  // `label` begins every message. Throws Error(kCorrupt / kUnsupported / kIo).
  GgufParser(const ByteSource& source, const std::string& label)
      : in_(source, label), label_(label) {}
  GgufShard parse();

  // Gives open() access to the private constructor of the class it fills.
  static std::unique_ptr<GgufFile> make_file();

 private:
  void read_header();
  void read_metadata();
  void index_metadata(const std::vector<uint64_t>& key_offsets);
  void read_alignment();
  void read_tensor_table();
  GgufTensor read_tensor_entry();
  void prove_ranges(uint64_t data_begin);
  void prove_unique_names(const std::vector<uint64_t>& entry_offsets) const;

  std::string read_string(uint64_t limit, const char* what);
  GgufType read_type(const char* what);
  void read_scalar(GgufType type, GgufValue& value);
  void read_array(GgufValue& value);
  void read_string_array(uint64_t count, GgufValue& value);
  template <typename T, typename Out>
  void read_numbers(uint64_t count, std::vector<Out>& out);
  // Counts decoded metadata against a budget, so that no file can expand beyond it.
  void charge(uint64_t bytes);

  ByteReader in_;
  std::string label_;
  GgufShard shard_;
  uint64_t entry_count_ = 0;
  uint64_t tensor_count_ = 0;
  uint64_t charged_ = 0;
};

// The entry of a key in a sorted index, or nullptr.
const GgufValue* find_in(const GgufShard& shard, std::string_view key);

}  // namespace serval
