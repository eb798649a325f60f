// Storage types of tensors, with their block geometry. One row per format: everything that needs
// to know "how many bytes" or "what is it called" reads this table.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace serval {

enum class DType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kIQ4_NL,
  kIQ4_XS,
  kMXFP4,
};

struct DTypeInfo {
  DType type;
  std::string_view name;  // as GGUF tools spell it: "Q4_K"
  uint32_t gguf_id;       // ggml_type number in the file
  int block_elements;     // elements per block (1 for plain floats)
  int block_bytes;
};

// All types, in enum order.
std::span<const DTypeInfo> dtypes();
const DTypeInfo& info(DType type);
std::optional<DType> dtype_from_gguf(uint32_t gguf_id);
std::optional<DType> dtype_from_name(std::string_view name);  // case-insensitive

// Bytes of a row of `elements`; REQUIRES: elements is a multiple of the block size.
inline uint64_t row_bytes(DType type, uint64_t elements) {
  const DTypeInfo& i = info(type);
  return elements / static_cast<uint64_t>(i.block_elements) * static_cast<uint64_t>(i.block_bytes);
}

}  // namespace serval
