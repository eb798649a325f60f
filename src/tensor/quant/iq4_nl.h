// IQ4_NL: 32 weights, 4.5 bits each, on a non-linear grid. value = d * grid[q]
//
//   byte  0    2                                18
//         | d  | qs[16]                          |
//   qs[j]: low nibble = q of element j, high nibble = q of element j + 16
#pragma once

#include "tensor/quant/half.h"

namespace serval {

static constexpr int8_t kIq4Grid[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                        1,    13,   25,  38,  53,  69,  89,  113};

#pragma pack(push, 1)
struct BlockIQ4_NL {
  uint16_t d;  // F16
  uint8_t qs[16];
};
#pragma pack(pop)
static_assert(sizeof(BlockIQ4_NL) == 18);

static inline void decode_block(const BlockIQ4_NL& block, float* out) {
  const float d = decode_f16(block.d);
  for (int j = 0; j < 16; ++j) {
    out[j] = d * static_cast<float>(kIq4Grid[block.qs[j] & 15]);
    out[j + 16] = d * static_cast<float>(kIq4Grid[block.qs[j] >> 4]);
  }
}

}  // namespace serval
