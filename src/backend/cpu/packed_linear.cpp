#include "backend/cpu/packed_linear.h"

#include <algorithm>
#include <climits>
#include <cstring>

#include "backend/cpu/panels/pack.h"
#include "base/check.h"
#include "serval/error.h"

namespace serval::cpu {
namespace {

constexpr size_t kStagingBytes = size_t{256} << 10;

void check_shape(const LinearSpec& spec) {
  SERVAL_CHECK(!spec.parts.empty());
  SERVAL_CHECK(spec.biases.empty() || spec.biases.size() == spec.parts.size());
  int64_t rows = 0;
  for (size_t i = 0; i < spec.parts.size(); ++i) {
    const TensorRef& part = spec.parts[i];
    rows += part.rows;
    if (part.cols != spec.parts[0].cols || part.cols <= 0 || part.rows <= 0 ||
        rows > INT_MAX / 64 || part.cols > INT_MAX / 64 ||
        part.cols % info(part.dtype).block_elements != 0) {
      throw Error(ErrorCode::kUnsupported,
                  part.name + ": a matrix of " + std::to_string(part.rows) + " x " +
                      std::to_string(part.cols) + " cannot be part of " + spec.name);
    }
    if (!spec.biases.empty() && spec.biases[i] &&
        (spec.biases[i]->dtype != DType::kF32 || spec.biases[i]->cols != part.rows)) {
      throw Error(ErrorCode::kUnsupported,
                  spec.biases[i]->name + ": not an F32 vector of " + std::to_string(part.rows));
    }
  }
}

// Adds what `type` needs to know about activation sums; returns its index.
int add_plane(const PlaneSpec& spec, ActivationLayout& layout) {
  if (spec.subs == 0) return -1;
  for (int i = 0; i < layout.planes; ++i) {
    const PlaneSpec& have = layout.plane[i];
    if (have.subs == spec.subs && have.zero == spec.zero && have.min == spec.min) return i;
  }
  SERVAL_CHECK(layout.planes < kMaxPlanes);
  layout.plane[layout.planes] = spec;
  return layout.planes++;
}

void place_arrays(ActivationLayout& layout) {
  const size_t chunks = static_cast<size_t>(layout.k) / kChunk;
  size_t at = chunks * kChunk;
  layout.scale_offset = at;
  at += chunks * 4;
  layout.count_offset = at;
  at += sizeof(int32_t);
  layout.spike_offset = at;
  at += chunks * sizeof(Spike);
  for (int p = 0; p < layout.planes; ++p) {
    layout.plane_offset[p] = at;
    at += chunks * 4 * static_cast<size_t>(layout.plane[p].subs);
  }
  layout.token_bytes = at;
}

}  // namespace

void PackedLinear::need(DType type, const KernelTable& kernels) {
  switch (type) {
    case DType::kBF16:
      (kernels.round_pairs != nullptr ? needs_pairs_ : needs_raw_) = true;
      break;
    case DType::kF32:
    case DType::kF16:
      needs_raw_ = true;
      break;
    default:
      needs_quantized_ = true;
  }
}

std::unique_ptr<PackedLinear> Packer::pack(const LinearSpec& spec, TensorSource& source) {
  check_shape(spec);
  auto linear = std::make_unique<PackedLinear>();
  linear->layout_.k = static_cast<int>(spec.parts[0].cols);
  for (size_t i = 0; i < spec.parts.size(); ++i) {
    const TensorRef& ref = spec.parts[i];
    PackedPart part;
    part.type = ref.dtype;
    part.rows = static_cast<int>(ref.rows);
    part.panels = (part.rows + kPanelRows - 1) / kPanelRows;
    part.first_output = linear->out_;
    part.panel_bytes = panel_bytes(ref.dtype, linear->layout_.k);
    part.plane = add_plane(kernels_.plane[static_cast<size_t>(ref.dtype)], linear->layout_);
    linear->need(ref.dtype, kernels_);
    part.memory = arena_.take(part.bytes());
    pack_part(ref, source, part);
    if (!spec.biases.empty() && spec.biases[i]) {
      part.bias.resize(static_cast<size_t>(part.panels) * kPanelRows);
      source.read(
          *spec.biases[i], 0,
          std::as_writable_bytes(std::span(part.bias).first(static_cast<size_t>(part.rows))));
      linear->bytes_ += static_cast<size_t>(part.rows) * sizeof(float);
    }
    linear->out_ += part.rows;
    linear->bytes_ += part.bytes();
    linear->parts_.push_back(std::move(part));
  }
  place_arrays(linear->layout_);
  return linear;
}

void Packer::pack_part(const TensorRef& ref, TensorSource& source, PackedPart& part) {
  const int k = static_cast<int>(ref.cols);
  const int batch =
      static_cast<int>(std::clamp<size_t>(kStagingBytes / part.panel_bytes, 1, part.panels));
  const auto pack_some = [&](int, int first, int end) {
    const int count = end - first;
    std::vector<std::byte> staging(static_cast<size_t>(count) * part.panel_bytes);
    const uint64_t offset = static_cast<uint64_t>(first) * part.panel_bytes;
    const size_t want = static_cast<size_t>(
        std::min<uint64_t>(static_cast<uint64_t>(count) * part.panel_bytes, ref.bytes() - offset));
    source.read(ref, offset, std::span(staging).first(want));
    // Rows beyond the matrix are zero bytes, as the vector was made.
    for (int p = 0; p < count; ++p) {
      pack_panel(ref.dtype,
                 reinterpret_cast<const uint8_t*>(staging.data()) +
                     static_cast<size_t>(p) * part.panel_bytes,
                 k, part.memory.data + static_cast<size_t>(first + p) * part.panel_bytes);
    }
  };
  team_.run({{part.panels, batch, pack_some}});
}

}  // namespace serval::cpu
