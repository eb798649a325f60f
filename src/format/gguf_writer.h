// GgufWriter: writes a GGUF v3 file in one forward pass. Declare metadata and tensors, then stream
// the tensors' bytes in the order declared; nothing larger than a write buffer is held.
//
//   AtomicFile file(path);
//   GgufWriter writer(file);
//   writer.add_string("general.architecture", "llama");
//   writer.add_tensor("token_embd.weight", DType::kQ8_0, {64, 300});
//   writer.write(bytes);          // any number of calls; the bytes of all tensors, without padding
//   writer.finish();
//   file.commit();
//
// Not thread-safe. The sink must outlive the writer. Misuse (a wrong order, too many or too few
// bytes) is our bug, not an Error; only the sink throws.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "format/gguf.h"

namespace serval {

class GgufWriter {
 public:
  // `alignment`: a power of two; general.alignment is written when it is not the default.
  explicit GgufWriter(ByteSink& sink, uint64_t alignment = 32);

  // Metadata, in file order. Keys must be unique.
  void add(std::string_view key, const GgufValue& value);
  void add_string(std::string_view key, std::string_view value);
  void add_uint32(std::string_view key, uint32_t value);
  void add_float32(std::string_view key, float value);
  void add_bool(std::string_view key, bool value);
  void add_strings(std::string_view key, std::span<const std::string> values);
  void add_ints(std::string_view key, std::span<const int32_t> values);
  void add_floats(std::string_view key, std::span<const float> values);

  // Declares a tensor; `ne` as in GgufTensor, fastest dimension first.
  void add_tensor(std::string_view name, DType type, std::span<const uint64_t> ne);

  // The next bytes of the declared tensors. The first call ends the declarations.
  void write(std::span<const std::byte> bytes);
  // REQUIRES: every declared byte was written.
  void finish();

 private:
  void begin_entry(std::string_view key, GgufType type);
  void begin_array(std::string_view key, GgufType element, uint64_t count);
  void write_header();
  void pad_to_alignment();

  ByteSink& sink_;
  uint64_t alignment_;
  std::string entries_;
  std::string tensor_table_;
  uint64_t entry_count_ = 0;
  std::vector<uint64_t> tensor_bytes_;
  uint64_t data_bytes_ = 0;  // of all tensors so far, padded
  bool header_written_ = false;
  size_t current_tensor_ = 0;  // being filled
  uint64_t current_written_ = 0;
};

}  // namespace serval
