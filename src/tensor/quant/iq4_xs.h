// IQ4_XS: 256 weights in 8 groups of 32, 4.25 bits each, on the grid of IQ4_NL.
// value = (d * (sc - 32)) * grid[q]
//
//   byte  0    2          4            8                                136
//         | d  | scales_h | scales_l[4] | qs[128]                         |
//   sc of group g, 6 bits: low 4 = nibble g % 2 of scales_l[g / 2], high 2 = bits 2 g of scales_h
//   qs[16 g + j]: low nibble = element j of group g, high nibble = element j + 16
#pragma once

#include "tensor/quant/half.h"
#include "tensor/quant/iq4_nl.h"

namespace serval {

#pragma pack(push, 1)
struct BlockIQ4_XS {
  uint16_t d;  // F16
  uint16_t scales_h;
  uint8_t scales_l[4];
  uint8_t qs[128];
};
#pragma pack(pop)
static_assert(sizeof(BlockIQ4_XS) == 136);

static inline int group_scale(const BlockIQ4_XS& block, int group) {
  const int low = (block.scales_l[group / 2] >> (4 * (group % 2))) & 15;
  const int high = (block.scales_h >> (2 * group)) & 3;
  return (low | (high << 4)) - 32;
}

static inline void decode_block(const BlockIQ4_XS& block, float* out) {
  const float d = decode_f16(block.d);
  for (int group = 0; group < 8; ++group) {
    const float scale = d * static_cast<float>(group_scale(block, group));
    const uint8_t* qs = block.qs + 16 * group;
    for (int j = 0; j < 16; ++j) {
      out[32 * group + j] = scale * static_cast<float>(kIq4Grid[qs[j] & 15]);
      out[32 * group + j + 16] = scale * static_cast<float>(kIq4Grid[qs[j] >> 4]);
    }
  }
}

}  // namespace serval
