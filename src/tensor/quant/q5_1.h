// Q5_1: 32 weights, 6 bits each. value = d * q + m
//
//   byte  0    2    4        8                                24
//         | d  | m  | qh[4]  | qs[16]                          |
//   qs[j]: low nibble = low 4 bits of element j, high nibble = those of element j + 16
//   qh, as one 32-bit number: bit e = fifth bit of element e
#pragma once

#include "tensor/quant/half.h"
#include "tensor/quant/rounding.h"

namespace serval {

#pragma pack(push, 1)
struct BlockQ5_1 {
  uint16_t d;  // F16
  uint16_t m;  // F16, the smallest element
  uint8_t qh[4];
  uint8_t qs[16];
};
#pragma pack(pop)
static_assert(sizeof(BlockQ5_1) == 24);

static inline void decode_block(const BlockQ5_1& block, float* out) {
  const float d = decode_f16(block.d);
  const float m = decode_f16(block.m);
  uint32_t high;
  std::memcpy(&high, block.qh, sizeof high);
  for (int j = 0; j < 16; ++j) {
    const auto top = static_cast<int>((high >> j) & 1);
    const auto top16 = static_cast<int>((high >> (j + 16)) & 1);
    out[j] = d * static_cast<float>((block.qs[j] & 15) | (top << 4)) + m;
    out[j + 16] = d * static_cast<float>((block.qs[j] >> 4) | (top16 << 4)) + m;
  }
}

static inline void encode_block(const float* x, BlockQ5_1& block) {
  const Range range = range_of(x, 32);
  const float d = (range.high - range.low) / 31.0f;
  const float inverse = inverse_or_zero(d);
  block.d = encode_f16(d);
  block.m = encode_f16(range.low);
  uint32_t high = 0;
  for (int j = 0; j < 16; ++j) {
    const int q = truncate_to((x[j] - range.low) * inverse + 0.5f, 31);
    const int q16 = truncate_to((x[j + 16] - range.low) * inverse + 0.5f, 31);
    block.qs[j] = static_cast<uint8_t>((q & 15) | ((q16 & 15) << 4));
    high |= static_cast<uint32_t>(q >> 4) << j;
    high |= static_cast<uint32_t>(q16 >> 4) << (j + 16);
  }
  std::memcpy(block.qh, &high, sizeof high);
}

}  // namespace serval
