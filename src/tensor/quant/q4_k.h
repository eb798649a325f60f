// Q4_K: 256 weights in 8 groups of 32, 4.5 bits each. value = (d * sc) * q - (dmin * mn)
//
//   byte  0    2      4            16                                144
//         | d  | dmin | scales[12]  | qs[128]                          |
//   scales: see scale_min.h
//   qs[32 i + l]: low nibble = element l of group 2 i, high nibble = element l of group 2 i + 1
#pragma once

#include "tensor/quant/half.h"
#include "tensor/quant/scale_min.h"

namespace serval {

#pragma pack(push, 1)
struct BlockQ4_K {
  uint16_t d;     // F16
  uint16_t dmin;  // F16
  uint8_t scales[12];
  uint8_t qs[128];
};
#pragma pack(pop)
static_assert(sizeof(BlockQ4_K) == 144);

static inline void decode_block(const BlockQ4_K& block, float* out) {
  const float d = decode_f16(block.d);
  const float dmin = decode_f16(block.dmin);
  for (int group = 0; group < 8; ++group) {
    const ScaleMin sm = scale_min(block.scales, group);
    const float scale = d * static_cast<float>(sm.scale);
    const float minimum = dmin * static_cast<float>(sm.minimum);
    const uint8_t* qs = block.qs + 32 * (group / 2);
    const int shift = 4 * (group % 2);
    for (int l = 0; l < 32; ++l) {
      out[32 * group + l] = scale * static_cast<float>((qs[l] >> shift) & 15) - minimum;
    }
  }
}

}  // namespace serval
