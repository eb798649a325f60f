// Q5_K: 256 weights in 8 groups of 32, 5.5 bits each. value = (d * sc) * q - (dmin * mn)
//
//   byte  0    2      4            16       48                                176
//         | d  | dmin | scales[12]  | qh[32] | qs[128]                          |
//   scales: see scale_min.h
//   qs[32 i + l]: low nibble = low 4 bits of element l of group 2 i, high nibble = of group 2 i + 1
//   qh[l]: bit g = fifth bit of element l of group g
#pragma once

#include "tensor/quant/half.h"
#include "tensor/quant/scale_min.h"

namespace serval {

#pragma pack(push, 1)
struct BlockQ5_K {
  uint16_t d;     // F16
  uint16_t dmin;  // F16
  uint8_t scales[12];
  uint8_t qh[32];
  uint8_t qs[128];
};
#pragma pack(pop)
static_assert(sizeof(BlockQ5_K) == 176);

static inline void decode_block(const BlockQ5_K& block, float* out) {
  const float d = decode_f16(block.d);
  const float dmin = decode_f16(block.dmin);
  for (int group = 0; group < 8; ++group) {
    const ScaleMin sm = scale_min(block.scales, group);
    const float scale = d * static_cast<float>(sm.scale);
    const float minimum = dmin * static_cast<float>(sm.minimum);
    const uint8_t* qs = block.qs + 32 * (group / 2);
    const int shift = 4 * (group % 2);
    for (int l = 0; l < 32; ++l) {
      const int q = ((qs[l] >> shift) & 15) | (((block.qh[l] >> group) & 1) << 4);
      out[32 * group + l] = scale * static_cast<float>(q) - minimum;
    }
  }
}

}  // namespace serval
