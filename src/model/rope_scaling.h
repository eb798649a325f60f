// Rotary position frequencies with the scalings that GGUF files name: linear and YaRN.
#pragma once

#include <span>

#include "backend/backend.h"
#include "model/config_reader.h"

namespace serval {

// Keys rope.scaling.*; defaults are those of the paper. A factor of 1 scales nothing.
struct RopeScaling {
  enum class Kind : uint8_t { kNone, kLinear, kYarn };
  Kind kind = Kind::kNone;
  double factor = 1.0;
  int original_context = 0;       // YaRN: tokens the model was first trained on
  double extrapolation = 1.0;     // YaRN: weight of the unscaled frequencies (yarn_ext_factor)
  double attention_factor = 1.0;  // YaRN: multiplies the magnitude
  double beta_fast = 32.0;        // YaRN: rotations over original_context above which a pair keeps
  double beta_slow = 1.0;         //       its frequency; below which it is fully interpolated
};

// REQUIRES: dims even, base > 1, factor > 0.
RopeSpec make_rope_spec(RopeStyle style, int dims, double base, const RopeScaling& scaling);

// rope.dimension_count, rope.freq_base, rope.scaling.*. Throws Error(kUnsupported) for longrope.
RopeSpec read_rope(const ConfigReader& reader, const ModelConfig& config, RopeStyle style);

// Divides each frequency by the model's own factor (tensor rope_freqs.weight).
// REQUIRES: factors.size() == dims / 2, all > 0.
void divide_frequencies(RopeSpec& spec, std::span<const float> factors);

}  // namespace serval
