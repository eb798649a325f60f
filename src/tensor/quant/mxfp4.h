// MXFP4 (OCP Microscaling Formats v1.0): 32 weights, 4.25 bits each. value = 2^(e - 127) * E2M1(q)
//
//   byte  0   1                                17
//         | e | qs[16]                          |
//   e: a power of two with bias 127 (E8M0)
//   qs[j]: low nibble = q of element j, high nibble = q of element j + 16
// The table holds twice the E2M1 values, to be integers; the scale is therefore 2^(e - 128).
#pragma once

#include "tensor/quant/half.h"

namespace serval {

static constexpr int8_t kE2M1Doubled[16] = {0, 1,  2,  3,  4,  6,  8,  12,
                                            0, -1, -2, -3, -4, -6, -8, -12};

struct BlockMXFP4 {
  uint8_t e;
  uint8_t qs[16];
};
static_assert(sizeof(BlockMXFP4) == 17);

// 2^(e - 128); e of 0 and 1 give subnormal floats.
static inline float half_of_e8m0(uint8_t e) {
  return float_from_bits(e < 2 ? 0x00200000u << e : static_cast<uint32_t>(e - 1) << 23);
}

static inline void decode_block(const BlockMXFP4& block, float* out) {
  const float d = half_of_e8m0(block.e);
  for (int j = 0; j < 16; ++j) {
    out[j] = d * static_cast<float>(kE2M1Doubled[block.qs[j] & 15]);
    out[j + 16] = d * static_cast<float>(kE2M1Doubled[block.qs[j] >> 4]);
  }
}

}  // namespace serval
