// Q6_K: 256 weights in 16 groups of 16, 6.5625 bits each. value = (d * sc) * (q - 32)
//
//   byte  0                128            192          208  210
//         | ql[128]         | qh[64]       | scales[16]  | d  |
//   half n (128 weights), quarter j, element l of 32; weight 128 n + 32 j + l has
//     low 4 bits  = nibble j / 2 of ql[64 n + 32 (j % 2) + l]
//     high 2 bits = (qh[32 n + l] >> 2 j) & 3
//   scales are signed
#pragma once

#include "tensor/quant/half.h"

namespace serval {

#pragma pack(push, 1)
struct BlockQ6_K {
  uint8_t ql[128];
  uint8_t qh[64];
  int8_t scales[16];
  uint16_t d;  // F16
};
#pragma pack(pop)
static_assert(sizeof(BlockQ6_K) == 210);

static inline void decode_block(const BlockQ6_K& block, float* out) {
  const float d = decode_f16(block.d);
  for (int group = 0; group < 16; ++group) {
    const float scale = d * static_cast<float>(block.scales[group]);
    const int half = group / 8;
    const int quarter = (group / 2) % 4;
    const int first = 16 * (group % 2);
    const uint8_t* ql = block.ql + 64 * half + 32 * (quarter % 2);
    const uint8_t* qh = block.qh + 32 * half;
    for (int l = first; l < first + 16; ++l) {
      const int low = (ql[l] >> (4 * (quarter / 2))) & 15;
      const int high = (qh[l] >> (2 * quarter)) & 3;
      out[16 * group + l - first] = scale * static_cast<float>((low | (high << 4)) - 32);
    }
  }
}

}  // namespace serval
