// GGUF v2/v3 reader. The file is hostile: every count, length and offset is proven against the
// bytes present before it is used or allocated for. Format:
// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/tensor_source.h"

namespace serval {

enum class GgufType : uint32_t {
  kUint8 = 0,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64,
};
std::string_view name(GgufType type);

// A read-only list of strings inside the file's metadata. Views live as long as the GgufFile.
class GgufStrings {
 public:
  size_t size() const { return ends_ == nullptr ? 0 : ends_->size(); }
  std::string_view operator[](size_t i) const {
    const uint64_t begin = i == 0 ? 0 : (*ends_)[i - 1];
    return std::string_view(*bytes_).substr(begin, (*ends_)[i] - begin);
  }

 private:
  friend class GgufParser;
  std::shared_ptr<const std::string> bytes_;           // all strings, one after the other
  std::shared_ptr<const std::vector<uint64_t>> ends_;  // end offset of each
};

// One metadata entry: a scalar, a string, or an array of scalars or strings (nested arrays are
// refused).
struct GgufValue {
  GgufType type = GgufType::kUint8;
  GgufType element = GgufType::kUint8;  // of an array
  uint64_t u = 0;                       // unsigned integers and bool
  int64_t i = 0;                        // signed integers
  double f = 0;                         // floats
  std::string s;
  GgufStrings strings;         // array of strings
  std::vector<double> floats;  // array of floats
  std::vector<int64_t> ints;   // array of integers or bools (uint64 above int64 max: refused)
  size_t array_size() const;
};

struct GgufTensor {
  TensorRef ref;           // rows = product of ne[1..], cols = ne[0]
  uint32_t gguf_type = 0;  // as in the file
  bool supported =
      true;  // false: a type this build cannot decode (ref.dtype meaningless; bytes unproven)
  std::vector<uint64_t> ne;  // 1..4 dimensions, fastest first, as in the file
  uint64_t offset = 0;       // absolute, inside its shard
  int shard = 0;
};

// Owns the parsed metadata and the open shards. Immutable after open; all const members
// thread-safe.
class GgufFile final : public TensorSource {
 public:
  // Opens a file; for a name "...-00001-of-0000N.gguf" also the other shards.
  // Throws Error: kNotFound, kIo, kCorrupt ("path: offset 24: ..."), kUnsupported.
  static std::unique_ptr<GgufFile> open(const std::string& path);
  // The same over bytes in memory (tests, fuzzing). Keeps a copy.
  static std::unique_ptr<GgufFile> parse(std::span<const std::byte> bytes,
                                         const std::string& label);
  ~GgufFile() override;

  const std::string& path() const;
  std::span<const std::string> shard_paths() const;  // one for a model in a single file
  uint32_t version() const;
  uint64_t file_bytes() const;  // all shards
  uint64_t alignment() const;

  struct Entry {
    std::string key;
    GgufValue value;
  };
  std::span<const Entry> metadata() const;  // in file order
  const GgufValue* find(std::string_view key) const;

  // Typed lookups. Absent -> nullopt; present with an unusable type -> throws Error(kCorrupt)
  // naming the key.
  std::optional<uint64_t> get_uint(std::string_view key) const;  // any non-negative integer type
  std::optional<int64_t> get_int(std::string_view key) const;
  std::optional<double> get_float(std::string_view key) const;  // any finite number
  std::optional<bool> get_bool(std::string_view key) const;
  std::optional<std::string> get_string(std::string_view key) const;
  std::optional<GgufStrings> get_strings(std::string_view key) const;
  std::optional<std::vector<int64_t>> get_ints(std::string_view key) const;
  std::optional<std::vector<double>> get_floats(std::string_view key) const;

  std::span<const GgufTensor> tensors() const;
  const GgufTensor* find_tensor(std::string_view name) const;

  void read(const TensorRef& ref, uint64_t offset, std::span<std::byte> out) override;

 private:
  friend class GgufParser;
  GgufFile();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace serval
