// Q2_K: 256 weights in 16 groups of 16, 2.625 bits each. value = (d * sc) * q - (dmin * mn)
//
//   byte  0           16                       80   82     84
//         | scales[16] | qs[64]                 | d  | dmin |
//   scales[g]: low nibble sc, high nibble mn of group g
//   qs: half n (128 weights), quarter j, element l:  weight 128 n + 32 j + l = (qs[32 n + l] >> 2
//   j) & 3
#pragma once

#include "tensor/quant/half.h"

namespace serval {

#pragma pack(push, 1)
struct BlockQ2_K {
  uint8_t scales[16];
  uint8_t qs[64];
  uint16_t d;     // F16
  uint16_t dmin;  // F16
};
#pragma pack(pop)
static_assert(sizeof(BlockQ2_K) == 84);

static inline void decode_block(const BlockQ2_K& block, float* out) {
  const float d = decode_f16(block.d);
  const float dmin = decode_f16(block.dmin);
  for (int group = 0; group < 16; ++group) {
    const float scale = d * static_cast<float>(block.scales[group] & 15);
    const float minimum = dmin * static_cast<float>(block.scales[group] >> 4);
    const int half = group / 8;
    const int quarter = (group / 2) % 4;
    const uint8_t* qs = block.qs + 32 * half + 16 * (group % 2);
    for (int l = 0; l < 16; ++l) {
      out[16 * group + l] = scale * static_cast<float>((qs[l] >> (2 * quarter)) & 3) - minimum;
    }
  }
}

}  // namespace serval
