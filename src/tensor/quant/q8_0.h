// Q8_0: 32 weights, 8.5 bits each. value = d * q
//
//   byte  0    2                                                                34
//         | d  | qs[32], signed                                                  |
#pragma once

#include "tensor/quant/half.h"
#include "tensor/quant/rounding.h"

namespace serval {

#pragma pack(push, 1)
struct BlockQ8_0 {
  uint16_t d;  // F16
  int8_t qs[32];
};
#pragma pack(pop)
static_assert(sizeof(BlockQ8_0) == 34);

static inline void decode_block(const BlockQ8_0& block, float* out) {
  const float d = decode_f16(block.d);
  for (int j = 0; j < 32; ++j) out[j] = d * static_cast<float>(block.qs[j]);
}

static inline void encode_block(const float* x, BlockQ8_0& block) {
  const float d = __builtin_fabsf(signed_extreme(x, 32)) / 127.0f;
  const float inverse = inverse_or_zero(d);
  block.d = encode_f16(d);
  for (int j = 0; j < 32; ++j) block.qs[j] = static_cast<int8_t>(round_to(x[j] * inverse, 127));
}

}  // namespace serval
