// Rearranges GGUF rows into panels of 16 (the layouts are drawn in kernels/formats.inl).
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace serval::cpu {

// Bytes of one panel over `k` columns: those of 16 rows.
size_t panel_bytes(DType type, int k);

// `rows`: 16 consecutive GGUF rows of `k` elements; missing ones of the last panel are zero bytes.
// Any byte pattern is allowed. `out` receives panel_bytes() bytes.
void pack_panel(DType type, const uint8_t* rows, int k, uint8_t* out);

}  // namespace serval::cpu
