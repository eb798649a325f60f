// Q4_0: 32 weights, 4.5 bits each. value = d * (q - 8)
//
//   byte  0    2                                18
//         | d  | qs[16]                          |
//   qs[j]: low nibble = q of element j, high nibble = q of element j + 16
#pragma once

#include "tensor/quant/half.h"
#include "tensor/quant/rounding.h"

namespace serval {

#pragma pack(push, 1)
struct BlockQ4_0 {
  uint16_t d;  // F16
  uint8_t qs[16];
};
#pragma pack(pop)
static_assert(sizeof(BlockQ4_0) == 18);

static inline void decode_block(const BlockQ4_0& block, float* out) {
  const float d = decode_f16(block.d);
  for (int j = 0; j < 16; ++j) {
    out[j] = d * static_cast<float>((block.qs[j] & 15) - 8);
    out[j + 16] = d * static_cast<float>((block.qs[j] >> 4) - 8);
  }
}

// The extreme element maps to -8 exactly, so the scale carries its sign.
static inline void encode_block(const float* x, BlockQ4_0& block) {
  const float d = signed_extreme(x, 32) / -8.0f;
  const float inverse = inverse_or_zero(d);
  block.d = encode_f16(d);
  for (int j = 0; j < 16; ++j) {
    const int low = truncate_to(x[j] * inverse + 8.5f, 15);
    const int high = truncate_to(x[j + 16] * inverse + 8.5f, 15);
    block.qs[j] = static_cast<uint8_t>(low | (high << 4));
  }
}

}  // namespace serval
