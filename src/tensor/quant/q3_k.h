// Q3_K: 256 weights in 16 groups of 16, 3.4375 bits each. value = (d * (sc - 32)) * (q - 4 (1 - h))
//
//   byte  0         32                       96          108  110
//         | hmask[32] | qs[64]                | scales[12] | d  |
//   half n (128 weights), quarter j, element l of 32:
//     q = (qs[32 n + l] >> 2 j) & 3,   h = (hmask[l] >> (4 n + j)) & 1
//   sc of group g, 6 bits: low 4 = nibble g / 8 of scales[g % 8],
//                          high 2 = bits 2 (g / 4) of scales[8 + g % 4]
#pragma once

#include "tensor/quant/half.h"

namespace serval {

#pragma pack(push, 1)
struct BlockQ3_K {
  uint8_t hmask[32];
  uint8_t qs[64];
  uint8_t scales[12];
  uint16_t d;  // F16
};
#pragma pack(pop)
static_assert(sizeof(BlockQ3_K) == 110);

static inline int group_scale(const BlockQ3_K& block, int group) {
  const int low = (block.scales[group % 8] >> (4 * (group / 8))) & 15;
  const int high = (block.scales[8 + group % 4] >> (2 * (group / 4))) & 3;
  return (low | (high << 4)) - 32;
}

static inline void decode_block(const BlockQ3_K& block, float* out) {
  const float d = decode_f16(block.d);
  for (int group = 0; group < 16; ++group) {
    const float scale = d * static_cast<float>(group_scale(block, group));
    const int half = group / 8;
    const int quarter = (group / 2) % 4;
    const int first = 16 * (group % 2);
    for (int l = first; l < first + 16; ++l) {
      const int low = (block.qs[32 * half + l] >> (2 * quarter)) & 3;
      const int high = (block.hmask[l] >> (4 * half + quarter)) & 1;
      out[16 * group + l - first] = scale * static_cast<float>(low - 4 * (1 - high));
    }
  }
}

}  // namespace serval
