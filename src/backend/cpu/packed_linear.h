// Weight handles: matrices as panels of 16 rows.
#pragma once

#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/kernel_table.h"
#include "backend/cpu/memory.h"
#include "backend/cpu/team.h"

namespace serval::cpu {

struct PackedPart {
  DType type = DType::kF32;
  int rows = 0;
  int panels = 0;
  int first_output = 0;  // column of the concatenated outputs
  size_t panel_bytes = 0;
  WeightArena::Piece memory;
  int plane = -1;           // into ActivationLayout, or none
  std::vector<float> bias;  // empty, or padded to whole panels
  const uint8_t* panel(int p) const { return memory.data + static_cast<size_t>(p) * panel_bytes; }
  size_t bytes() const { return static_cast<size_t>(panels) * panel_bytes; }
};

// Matrices this much wider than their input are output projections: their results go to the logits
// buffer, not to the [rows, outputs] scratch.
constexpr int kHeadRatio = 20;

class PackedLinear final : public Linear {
 public:
  int in_features() const override { return layout_.k; }
  int out_features() const override { return out_; }
  size_t bytes() const override { return bytes_; }

  const std::vector<PackedPart>& parts() const { return parts_; }
  const ActivationLayout& layout() const { return layout_; }
  bool needs_quantized() const { return needs_quantized_; }
  bool needs_raw() const { return needs_raw_; }
  bool needs_pairs() const { return needs_pairs_; }
  bool is_head() const { return out_ / layout_.k >= kHeadRatio; }

 private:
  friend class Packer;
  // The form of activations that weights of this type are multiplied with.
  void need(DType type, const KernelTable& kernels);

  std::vector<PackedPart> parts_;
  ActivationLayout layout_ = {};
  int out_ = 0;
  size_t bytes_ = 0;
  bool needs_quantized_ = false;
  bool needs_raw_ = false;
  bool needs_pairs_ = false;
};

class PackedEmbedding final : public Embedding {
 public:
  explicit PackedEmbedding(std::unique_ptr<PackedLinear> table) : table_(std::move(table)) {}
  int vocab() const override { return table_->out_features(); }
  int features() const override { return table_->in_features(); }
  size_t bytes() const override { return table_->bytes(); }
  const Linear& linear() const override { return *table_; }
  const PackedLinear& table() const { return *table_; }

 private:
  std::unique_ptr<PackedLinear> table_;
};

// Streams tensors from their source straight into panels, on all workers, through a staging buffer
// of a few panels per worker.
class Packer {
 public:
  Packer(const KernelTable& kernels, Team& team) : kernels_(kernels), team_(team) {}
  // Throws Error(kUnsupported) for shapes that cannot be multiplied together, and what the source
  // throws.
  std::unique_ptr<PackedLinear> pack(const LinearSpec& spec, TensorSource& source);

 private:
  void pack_part(const TensorRef& ref, TensorSource& source, PackedPart& part);

  const KernelTable& kernels_;
  Team& team_;
  WeightArena arena_;
};

}  // namespace serval::cpu
