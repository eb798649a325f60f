// Row codecs for every storage type: the scalar yardstick of all kernels and the path of tools.
// One header per format beside this one holds the block struct (bytes drawn) and its codec; the
// table in list.cpp is the only place that lists them.
#pragma once

#include <cstdint>

#include "tensor/dtype.h"

namespace serval {

// Decodes `elements` values (a multiple of the block) from `src` into `dst`, bit-exactly as the
// format defines them in float32. No alignment required of `src`. Any byte pattern is allowed.
void dequantize_row(DType type, const void* src, float* dst, int64_t elements);

// True for types quantize_row can write.
bool can_quantize(DType type);

// Encodes `elements` floats (a multiple of the block) into `dst`. REQUIRES: can_quantize(type).
void quantize_row(DType type, const float* src, void* dst, int64_t elements);

float f16_to_f32(uint16_t bits);
uint16_t f32_to_f16(float value);  // round to nearest even
float bf16_to_f32(uint16_t bits);
uint16_t f32_to_bf16(float value);  // round to nearest even, NaN kept quiet

}  // namespace serval
