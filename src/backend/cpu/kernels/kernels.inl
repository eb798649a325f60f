// The generic kernels, in order of use. The including file defines the vector vocabulary.
// clang-format off
#include "backend/cpu/kernels/support.inl"
#include "backend/cpu/kernels/formats.inl"
#include "backend/cpu/kernels/linear.inl"
#include "backend/cpu/kernels/quantize.inl"
#include "backend/cpu/kernels/linear_float.inl"
#include "backend/cpu/kernels/rows.inl"
#include "backend/cpu/kernels/kv_rows.inl"
#include "backend/cpu/kernels/attention_tiles.inl"
#include "backend/cpu/kernels/attention_q8.inl"
#include "backend/cpu/kernels/attention.inl"
// clang-format on
