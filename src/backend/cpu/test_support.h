// What the tests of this folder share: random weights in every format, and matrices in memory.
#pragma once

#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "serval/error.h"
#include "tensor/dtype.h"
#include "tensor/quant/list.h"
#include "tensor/tensor_source.h"

namespace serval {

// Kernel sets that this machine can run.
inline std::vector<std::string> usable_isas() {
  std::vector<std::string> names;
  for (const char* name : {"avx512bf16", "avx512", "avx2", "portable"}) {
    try {
      create_cpu_backend({1, name});
      names.emplace_back(name);
    } catch (const Error&) {
    }
  }
  return names;
}

inline std::vector<float> random_floats(size_t count, uint32_t seed, float scale = 1.0F) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0F, scale);
  std::vector<float> out(count);
  for (float& x : out) x = normal(random);
  return out;
}

// Tensors by name. Quantised bytes are random bits with finite scales, so every code occurs.
class MemoryTensors final : public TensorSource {
 public:
  static constexpr uint32_t kAllBits = UINT32_MAX;  // a seed: the largest code everywhere
  TensorRef add(const std::string& name, DType type, int64_t rows, int64_t cols, uint32_t seed) {
    TensorRef ref{name, type, rows, cols};
    std::vector<uint8_t> bytes(ref.bytes());
    std::mt19937 random(seed);
    for (uint8_t& b : bytes) b = seed == kAllBits ? 0xFF : static_cast<uint8_t>(random());
    const size_t block = static_cast<size_t>(info(type).block_bytes);
    for (size_t at = 0; at < bytes.size(); at += block) fix_scales(type, bytes.data() + at, random);
    bytes_[name] = std::move(bytes);
    return ref;
  }
  TensorRef add_floats(const std::string& name, std::span<const float> values) {
    std::vector<uint8_t> bytes(values.size_bytes());
    std::memcpy(bytes.data(), values.data(), bytes.size());
    bytes_[name] = std::move(bytes);
    return {name, DType::kF32, 1, static_cast<int64_t>(values.size())};
  }
  void read(const TensorRef& ref, uint64_t offset, std::span<std::byte> out) override {
    std::memcpy(out.data(), bytes_.at(ref.name).data() + offset, out.size());
  }
  std::vector<float> row(const TensorRef& ref, int64_t row) const {
    std::vector<float> out(static_cast<size_t>(ref.cols));
    const uint64_t stride = row_bytes(ref.dtype, static_cast<uint64_t>(ref.cols));
    dequantize_row(ref.dtype, bytes_.at(ref.name).data() + static_cast<uint64_t>(row) * stride,
                   out.data(), ref.cols);
    return out;
  }

 private:
  static void put_half(uint8_t* to, float value) {
    const uint16_t bits = f32_to_f16(value);
    std::memcpy(to, &bits, 2);
  }
  static void fix_scales(DType type, uint8_t* block, std::mt19937& random) {
    std::uniform_real_distribution<float> uniform(-0.02F, 0.02F);
    switch (type) {
      case DType::kF32: {
        const float value = uniform(random);
        std::memcpy(block, &value, 4);
        break;
      }
      case DType::kF16:
        put_half(block, uniform(random));
        break;
      case DType::kBF16: {
        const uint16_t bits = f32_to_bf16(uniform(random));
        std::memcpy(block, &bits, 2);
        break;
      }
      case DType::kQ4_1:
      case DType::kQ5_1:
      case DType::kQ4_K:
      case DType::kQ5_K:
        put_half(block + 2, uniform(random));
        [[fallthrough]];
      case DType::kQ4_0:
      case DType::kQ5_0:
      case DType::kQ8_0:
      case DType::kIQ4_NL:
      case DType::kIQ4_XS:
        put_half(block, uniform(random));
        break;
      case DType::kQ2_K:
        put_half(block + 80, uniform(random));
        put_half(block + 82, uniform(random));
        break;
      case DType::kQ3_K:
        put_half(block + 108, uniform(random));
        break;
      case DType::kQ6_K:
        put_half(block + 208, uniform(random));
        break;
      case DType::kMXFP4:
        block[0] = static_cast<uint8_t>(115 + random() % 12);
        break;
    }
  }

  std::map<std::string, std::vector<uint8_t>> bytes_;
};

// One sequence of `rows` rows after `past`, blocks in order from `first_block`.
struct OneSpan {
  OneSpan(int rows, int past = 0, int first_block = 0) : tokens(static_cast<size_t>(rows)) {
    for (int i = 0; i < rows; ++i) positions.push_back(past + i);
    for (int i = 0; i < rows; ++i) logit_rows.push_back(i);
    for (int b = 0; b * kBlockTokens < past + rows; ++b) blocks.push_back(first_block + b);
    span = {0, rows, past, 0};
  }
  ForwardBatch batch() const { return {tokens, positions, {&span, 1}, blocks, logit_rows}; }
  std::vector<int32_t> tokens, positions, logit_rows, blocks;
  RowSpan span;
};

inline Tensor view(std::vector<float>& values, int rows) {
  const int cols = static_cast<int>(values.size()) / rows;
  return {values.data(), rows, cols, cols};
}

}  // namespace serval
