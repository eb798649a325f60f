// The table of formats. A format is a block struct with decode_block, and encode_block where it can
// be written; one row here makes it readable everywhere.
#include "tensor/quant/list.h"

#include <array>
#include <cstddef>
#include <cstring>
#include <type_traits>

#include "base/check.h"
#include "tensor/quant/half.h"
#include "tensor/quant/iq4_nl.h"
#include "tensor/quant/iq4_xs.h"
#include "tensor/quant/mxfp4.h"
#include "tensor/quant/q2_k.h"
#include "tensor/quant/q3_k.h"
#include "tensor/quant/q4_0.h"
#include "tensor/quant/q4_1.h"
#include "tensor/quant/q4_k.h"
#include "tensor/quant/q5_0.h"
#include "tensor/quant/q5_1.h"
#include "tensor/quant/q5_k.h"
#include "tensor/quant/q6_k.h"
#include "tensor/quant/q8_0.h"

namespace serval {
namespace {

// Plain floats are blocks of one.
struct BlockF32 {
  float value;
};
struct BlockF16 {
  uint16_t bits;
};
struct BlockBF16 {
  uint16_t bits;
};

inline void decode_block(const BlockF32& block, float* out) { *out = block.value; }
inline void decode_block(const BlockF16& block, float* out) { *out = decode_f16(block.bits); }
inline void decode_block(const BlockBF16& block, float* out) { *out = decode_bf16(block.bits); }
inline void encode_block(const float* x, BlockF32& block) { block.value = *x; }
inline void encode_block(const float* x, BlockF16& block) { block.bits = encode_f16(*x); }
inline void encode_block(const float* x, BlockBF16& block) { block.bits = encode_bf16(*x); }

// Blocks in a file have no alignment: each is copied out (or in) before use.
template <typename Block, int kElements>
void decode_row(const void* src, float* dst, int64_t elements) {
  const auto* bytes = static_cast<const std::byte*>(src);
  for (int64_t e = 0; e < elements; e += kElements, bytes += sizeof(Block)) {
    Block block;
    std::memcpy(&block, bytes, sizeof block);
    decode_block(block, dst + e);
  }
}

template <typename Block, int kElements>
void encode_row(const float* src, void* dst, int64_t elements) {
  auto* bytes = static_cast<std::byte*>(dst);
  for (int64_t e = 0; e < elements; e += kElements, bytes += sizeof(Block)) {
    Block block;
    encode_block(src + e, block);
    std::memcpy(bytes, &block, sizeof block);
  }
}

struct Codec {
  DType type;
  int block_elements;
  int block_bytes;
  void (*decode)(const void* src, float* dst, int64_t elements);
  void (*encode)(const float* src, void* dst, int64_t elements);  // nullptr: read-only format
};

template <typename Block, int kElements>
constexpr Codec read_only(DType type) {
  return {type, kElements, sizeof(Block), decode_row<Block, kElements>, nullptr};
}

template <typename Block, int kElements>
constexpr Codec read_write(DType type) {
  return {type, kElements, sizeof(Block), decode_row<Block, kElements>,
          encode_row<Block, kElements>};
}

// In the order of DType.
constexpr std::array kCodecs = {
    read_write<BlockF32, 1>(DType::kF32),        read_write<BlockF16, 1>(DType::kF16),
    read_write<BlockBF16, 1>(DType::kBF16),      read_write<BlockQ4_0, 32>(DType::kQ4_0),
    read_write<BlockQ4_1, 32>(DType::kQ4_1),     read_write<BlockQ5_0, 32>(DType::kQ5_0),
    read_write<BlockQ5_1, 32>(DType::kQ5_1),     read_write<BlockQ8_0, 32>(DType::kQ8_0),
    read_only<BlockQ2_K, 256>(DType::kQ2_K),     read_only<BlockQ3_K, 256>(DType::kQ3_K),
    read_only<BlockQ4_K, 256>(DType::kQ4_K),     read_only<BlockQ5_K, 256>(DType::kQ5_K),
    read_only<BlockQ6_K, 256>(DType::kQ6_K),     read_only<BlockIQ4_NL, 32>(DType::kIQ4_NL),
    read_only<BlockIQ4_XS, 256>(DType::kIQ4_XS), read_only<BlockMXFP4, 32>(DType::kMXFP4),
};

const Codec& codec(DType type) {
  const Codec& found = kCodecs.at(static_cast<size_t>(type));
  SERVAL_CHECK(found.type == type);
  return found;
}

}  // namespace

void dequantize_row(DType type, const void* src, float* dst, int64_t elements) {
  const Codec& c = codec(type);
  SERVAL_CHECK(elements >= 0 && elements % c.block_elements == 0);
  c.decode(src, dst, elements);
}

bool can_quantize(DType type) { return codec(type).encode != nullptr; }

void quantize_row(DType type, const float* src, void* dst, int64_t elements) {
  const Codec& c = codec(type);
  SERVAL_CHECK(c.encode != nullptr && elements >= 0 && elements % c.block_elements == 0);
  c.encode(src, dst, elements);
}

float f16_to_f32(uint16_t bits) { return decode_f16(bits); }
uint16_t f32_to_f16(float value) { return encode_f16(value); }
float bf16_to_f32(uint16_t bits) { return decode_bf16(bits); }
uint16_t f32_to_bf16(float value) { return encode_bf16(value); }

}  // namespace serval
