// RoPE rotates pair i of a head by position * base^(-2i / dims) (https://arxiv.org/abs/2104.09864).
//
// Linear scaling (position interpolation, https://arxiv.org/abs/2306.15595) divides every frequency
// by the factor. YaRN (https://arxiv.org/abs/2309.00071, section 3.2) does so only for pairs that
// turn slowly: with r = original_context * frequency / 2 pi rotations over the original context,
// pairs with r > beta_fast stay, pairs with r < beta_slow are interpolated, and between the two the
// mix is linear in the pair's index; cos and sin grow by 0.1 ln(factor) + 1 (section 3.4). As in
// the paper's own code the borders are rounded outwards to whole indices.
#include "model/rope_scaling.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/check.h"
#include "base/quoted.h"

namespace serval {
namespace {

// The (fractional) pair index whose frequency makes `rotations` turns over the original context.
double pair_of_rotations(double rotations, int dims, double base, int original_context) {
  return dims * std::log(original_context / (rotations * 2.0 * std::numbers::pi)) /
         (2.0 * std::log(base));
}

RopeScaling read_scaling(const ConfigReader& reader, int context) {
  RopeScaling scaling;
  const bool old_name = !reader.has("rope.scaling.factor") && reader.has("rope.scale_linear");
  const std::string kind = reader.text_or("rope.scaling.type", old_name ? "linear" : "none");
  scaling.factor =
      reader.number_or(old_name ? "rope.scale_linear" : "rope.scaling.factor", 1e-3, 1e6, 1.0);
  if (kind == "none") return {};
  if (kind == "linear") {
    scaling.kind = RopeScaling::Kind::kLinear;
    return scaling;
  }
  if (kind != "yarn") {
    reader.unsupported("rope.scaling.type",
                       "is " + quoted(kind, 32) + "; supported are none, linear and yarn");
  }
  scaling.kind = RopeScaling::Kind::kYarn;
  scaling.original_context =
      reader.integer_or("rope.scaling.original_context_length", 1, kMaxContext, context);
  scaling.extrapolation = reader.number_or("rope.scaling.yarn_ext_factor", 0.0, 1.0, 1.0);
  scaling.attention_factor = reader.number_or("rope.scaling.attn_factor", 1e-3, 1e3, 1.0) *
                             reader.number_or("rope.scaling.yarn_attn_factor", 1e-3, 1e3, 1.0);
  scaling.beta_fast = reader.number_or("rope.scaling.yarn_beta_fast", 1e-3, 1e6, 32.0);
  scaling.beta_slow = reader.number_or("rope.scaling.yarn_beta_slow", 1e-3, 1e6, 1.0);
  if (reader.number_or("rope.scaling.yarn_log_multiplier", -1e3, 1e3, 0.0) != 0.0) {
    reader.unsupported("rope.scaling.yarn_log_multiplier", "is set, which is not supported yet");
  }
  return scaling;
}

}  // namespace

RopeSpec make_rope_spec(RopeStyle style, int dims, double base, const RopeScaling& scaling) {
  SERVAL_CHECK(dims > 0 && dims % 2 == 0 && base > 1.0 && scaling.factor > 0.0);
  RopeSpec spec;
  spec.style = style;
  spec.dims = dims;
  double low = 0.0, high = 0.0;
  if (scaling.kind == RopeScaling::Kind::kYarn) {
    const int context = scaling.original_context;
    low = std::max(0.0, std::floor(pair_of_rotations(scaling.beta_fast, dims, base, context)));
    high =
        std::min(dims - 1.0, std::ceil(pair_of_rotations(scaling.beta_slow, dims, base, context)));
    const double grown = scaling.extrapolation > 0.0 ? 0.1 * std::log(scaling.factor) + 1.0 : 1.0;
    spec.magnitude = static_cast<float>(scaling.attention_factor * grown);
  }
  for (int i = 0; i < dims / 2; ++i) {
    const double frequency = std::pow(base, -2.0 * i / dims);
    const double interpolated =
        scaling.kind == RopeScaling::Kind::kNone ? frequency : frequency / scaling.factor;
    double kept = 0.0;  // share of the unscaled frequency
    if (scaling.kind == RopeScaling::Kind::kYarn) {
      const double ramp = std::clamp((i - low) / std::max(0.001, high - low), 0.0, 1.0);
      kept = (1.0 - ramp) * scaling.extrapolation;
    }
    spec.inverse_frequency.push_back(interpolated * (1.0 - kept) + frequency * kept);
  }
  return spec;
}

RopeSpec read_rope(const ConfigReader& reader, const ModelConfig& config, RopeStyle style) {
  const int dims = reader.integer_or("rope.dimension_count", 2, config.head_dim, config.head_dim);
  if (dims % 2 != 0) reader.corrupt("rope.dimension_count", "is odd");
  const double base = reader.number_or("rope.freq_base", 1.0001, 1e15, 10000.0);
  return make_rope_spec(style, dims, base, read_scaling(reader, config.context_length));
}

void divide_frequencies(RopeSpec& spec, std::span<const float> factors) {
  SERVAL_CHECK(factors.size() == spec.inverse_frequency.size());
  for (size_t i = 0; i < factors.size(); ++i) {
    spec.inverse_frequency[i] /= static_cast<double>(factors[i]);
  }
}

}  // namespace serval
