// CpuBackend: the verbs, as work for the team. loading.cpp makes handles, verbs.cpp computes,
// products.cpp prepares rows and multiplies panels, attention.cpp plans attention.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/kernel_table.h"
#include "backend/cpu/memory.h"
#include "backend/cpu/packed_linear.h"
#include "backend/cpu/team.h"

namespace serval::cpu {

constexpr int kMaxQueries = 128;  // of one attention job: rows x heads of a group

// Panels of a matrix in a row, where gate and up take turns: with kFewRows rows. Fewer rows take as
// many more as their results have room.
constexpr int kStretch = 8;

// Results that a worker holds at once: of two panels, or of two stretches for few rows.
inline size_t result_bytes(size_t rows) {
  return 2 * std::max(rows, size_t{kStretch} * kFewRows) * kPanelRows * sizeof(float);
}

// The rows of one tile, each with room for a whole last vector.
inline size_t row_buffer_bytes(size_t features) {
  return kTileTokens * (features + 16) * sizeof(float);
}

// cos and sin of the step's rows, [rows][dims / 2] each, filled by begin_step.
struct RopeTable {
  RopeSpec spec;
  std::vector<float> cosine, sine;
  const float* cosine_of(int row) const { return cosine.data() + offset(row); }
  const float* sine_of(int row) const { return sine.data() + offset(row); }

 private:
  size_t offset(int row) const {
    return static_cast<size_t>(row) * static_cast<size_t>(spec.dims / 2);
  }
};

class CpuRope final : public Rope {
 public:
  explicit CpuRope(std::shared_ptr<RopeTable> table) : table_(std::move(table)) {}
  const RopeTable& table() const { return *table_; }

 private:
  std::shared_ptr<RopeTable> table_;
};

struct PanelRef {
  const PackedPart* part = nullptr;  // null: none
  int index = 0;
  const uint8_t* data() const { return part == nullptr ? nullptr : part->panel(index); }
};

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(const BackendOptions& options);

  const BackendInfo& info() const override { return info_; }

  LinearPtr pack(const LinearSpec& spec, TensorSource& source) override;
  EmbeddingPtr pack_embedding(const TensorRef& ref, bool tied, TensorSource& source) override;
  BufferPtr upload(std::span<const float> values) override;
  BufferPtr allocate(size_t bytes) override;
  RopePtr make_rope(const RopeSpec& spec) override;
  KvLayer make_kv_layer(KvType type, int kv_heads, int head_dim, int blocks) override;
  void reserve(const StepLimits& limits) override;
  // Held now for steps; without reserve() no more than the steps so far asked for. Not the logits.
  size_t scratch_bytes() const;

  void begin_step(const ForwardBatch& batch) override;
  void embed(const Embedding& table, float scale, Tensor x) override;
  void attention_in(Tensor x, const Norm& norm, const Linear& qkv, const QkNorm* qk_norm,
                    const Rope& rope, KvLayer& kv, Tensor q) override;
  void attention(Tensor q, const KvLayer& kv, const AttentionParams& params, Tensor o) override;
  void project_add(Tensor h, const Linear& linear, const Norm* post, Tensor x) override;
  void ffn_in(Tensor x, const Norm& norm, const Linear& linear, Activation activation,
              Tensor h) override;
  void head(Tensor x, const Norm& norm, const Linear& output, const HeadParams& params,
            LogitSink& sink) override;
  void end_step() override {}

 private:
  // Rows in the forms that kernels multiply; see Activations.
  struct RowScratch {
    Scratch quantized, raw, pairs;
    size_t size() const { return quantized.size() + raw.size() + pairs.size(); }
  };
  // What a verb multiplies: these rows (row i of x is row_ids[i], or i), normalised if asked.
  struct Input {
    Tensor x;
    const int32_t* row_ids;
    const Norm* norm;
    const PackedLinear* linear;
    Activations shared;
    uint64_t verb;  // its number
    bool alone;     // every worker prepares all rows for itself
    int piece;      // rows that are prepared together: whole tiles if that gives all workers some
    int groups;     // of rows that take turns in a product; see kGroupRows
    int pieces() const { return alone ? 0 : (shared.rows + piece - 1) / piece; }
    Range rows_of(int first_piece, int end_piece) const {
      return {first_piece * piece, std::min(end_piece * piece, shared.rows)};
    }
    const float* row(int i) const { return x.row(row_ids == nullptr ? i : row_ids[i]); }
  };
  // Memory of one worker, on its own pages.
  struct alignas(128) Worker {
    Scratch rows;      // those of one tile, normalised
    RowScratch alone;  // kTileTokens rows, of verb number `alone_verb`
    Activations alone_activations;
    uint64_t alone_verb = 0;
    Scratch panel;      // two unpacked panels
    Scratch out;        // two [rows][16] results
    Scratch attention;  // AttentionJob::scratch
  };
  // Attention results that must be merged: those of `count` segments of one job's queries.
  struct Merge {
    const float* partials;
    int count;
    int queries, group;
    float* o;
    int64_t o_stride;
  };
  // What one (row, KV head) of attention_in needs besides its place.
  struct Finish {
    const PackedLinear* linear;
    const QkNorm* qk_norm;
    const RopeTable* rope;
    KvView kv;
    int kv_heads, heads;
    Tensor q;
  };

  // Scratch for `rows` rows times `linear`; does nothing when reserve() foresaw it.
  void size_for(const PackedLinear& linear, int rows);
  void reserve_attention(int head_dim, int kv_heads);
  static Activations activations_in(const RowScratch& scratch, const PackedLinear& linear, int rows,
                                    int tile);
  Input input_for(const PackedLinear& linear, const Tensor& x, int rows, const int32_t* row_ids,
                  const Norm* norm);
  void prepare(int worker, Range rows, const Input& input, const Activations& to);
  void prepare_rows(const float* const* x, int count, int row, const Activations& to);
  // The rows of `input` as `worker` reads them. Call after the phase of prepare().
  const Activations& activations_of(int worker, const Input& input);
  // All rows times one or two panels, plus bias: [panel][rows][16] in the worker's memory, `at`
  // floats from its beginning.
  const float* multiply(int worker, const Activations& activations, const PanelRef& panel,
                        const PanelRef& second, ptrdiff_t at = 0);
  // The phases of a product: work(worker, first, end) for pieces of rows, and for items.
  template <typename Work>
  Phase rows_phase(const Input& input, const Work& work) const;
  template <typename Work>
  Phase product_phase(const Input& input, int units, const Work& work) const;
  // A unit is what is multiplied at once: a panel, or two neighbours.
  static int panel_units(const PackedLinear& linear, int rows);
  // A product's items are the units of the first group of rows, then those of the second, ... Calls
  // each(units, rows, activations of these rows) for the groups that `items` touch.
  template <typename Each>
  void for_groups(int worker, Range items, const Input& input, int units, const Each& each);
  // Calls each(part, panel, rows, its product [rows][16]) for these items.
  template <typename Each>
  void for_panels(int worker, Range items, const Input& input, const Each& each);
  // Calls each(panel, gate's product, up's product) for these panels of both parts.
  template <typename Each>
  void gated_few(int worker, Range panels, const PackedLinear& linear,
                 const Activations& activations, const Each& each);
  void hand_out_hidden(Tensor x, const Norm& norm, LogitSink& sink);
  void finish_head(const Finish& finish, const RowSpan& span, int row, int kv_head);
  void plan_attention(const Tensor& q, const KvView& view, const KvLayer& kv,
                      const AttentionParams& params, const Tensor& o);
  void plan_head(const AttentionJob& common, int head, const Tensor& q, const Tensor& o, bool split,
                 float*& partial);
  void plan_split(const AttentionJob& whole, float*& partial);
  const RowSpan& span_of(int row) const;

  const KernelTable& kernels_;
  Team team_;
  Packer packer_;
  BackendInfo info_;
  std::vector<Worker> workers_;
  std::vector<std::shared_ptr<RopeTable>> ropes_;
  ForwardBatch batch_;
  StepLimits limits_;

  RowScratch rows_;
  Scratch wide_, logits_, partials_;
  uint64_t verbs_ = 0;  // so far
  std::vector<AttentionJob> jobs_;
  std::vector<Merge> merges_;

  // Maxima over everything packed, for reserve().
  struct {
    int features = 0, outputs = 0, head_outputs = 0, head_dim = 0, kv_heads = 0;
    size_t token_bytes = 0;
    size_t pair_bytes = 0;
    bool raw = false;
  } need_;
};

KvView view_of(const KvLayer& layer);
NormJob job_of(const Norm& norm);
// These rows of a step's; the first begins a tile.
Activations part_of(const Activations& all, Range rows);

// Bytes of jobs and partial results in the largest step.
size_t attention_plan_bytes(const ScratchNeeds& needs, const StepLimits& limits, int workers);

}  // namespace serval::cpu
