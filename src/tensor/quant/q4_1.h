// Q4_1: 32 weights, 5 bits each. value = d * q + m
//
//   byte  0    2    4                                20
//         | d  | m  | qs[16]                          |
//   qs[j]: low nibble = q of element j, high nibble = q of element j + 16
#pragma once

#include "tensor/quant/half.h"
#include "tensor/quant/rounding.h"

namespace serval {

#pragma pack(push, 1)
struct BlockQ4_1 {
  uint16_t d;  // F16
  uint16_t m;  // F16, the smallest element
  uint8_t qs[16];
};
#pragma pack(pop)
static_assert(sizeof(BlockQ4_1) == 20);

static inline void decode_block(const BlockQ4_1& block, float* out) {
  const float d = decode_f16(block.d);
  const float m = decode_f16(block.m);
  for (int j = 0; j < 16; ++j) {
    out[j] = d * static_cast<float>(block.qs[j] & 15) + m;
    out[j + 16] = d * static_cast<float>(block.qs[j] >> 4) + m;
  }
}

static inline void encode_block(const float* x, BlockQ4_1& block) {
  const Range range = range_of(x, 32);
  const float d = (range.high - range.low) / 15.0f;
  const float inverse = inverse_or_zero(d);
  block.d = encode_f16(d);
  block.m = encode_f16(range.low);
  for (int j = 0; j < 16; ++j) {
    const int low = truncate_to((x[j] - range.low) * inverse + 0.5f, 15);
    const int high = truncate_to((x[j + 16] - range.low) * inverse + 0.5f, 15);
    block.qs[j] = static_cast<uint8_t>(low | (high << 4));
  }
}

}  // namespace serval
