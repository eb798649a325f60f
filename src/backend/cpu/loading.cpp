// Making handles, and sizing scratch memory for what was made.
#include <algorithm>
#include <climits>
#include <cstring>
#include <string>

#include "backend/cpu/backend_impl.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/isa.h"
#include "backend/kv_storage.h"
#include "base/check.h"
#include "serval/error.h"

namespace serval::cpu {
namespace {

constexpr int kMaxHeadDim = 512;

// Of one row of the widest input, in all forms in which some matrix wants it: int8 with what its
// formats need to know of sums, float, bfloat16. Matrices of one form alone take the most where a
// kernel set has no bfloat16 dot products.
size_t activation_bytes(const ScratchNeeds& needs) {
  constexpr size_t kPlane = 2 * sizeof(int32_t);  // of a chunk: sums of its halves
  const auto features = static_cast<size_t>(needs.features);
  const auto planes = static_cast<size_t>(std::min(needs.formats, kMaxPlanes));
  size_t bytes = 0;
  if (needs.formats > 0) {
    const size_t of_chunk = kChunk + sizeof(float) + sizeof(Spike) + planes * kPlane;
    bytes += features / kChunk * of_chunk + sizeof(int32_t);
  }
  if (needs.full_floats || needs.bfloats) bytes += features * sizeof(float);
  if (needs.full_floats && needs.bfloats) bytes += (features + 1) / 2 * sizeof(uint32_t);
  return bytes;
}

}  // namespace

CpuBackend::CpuBackend(const BackendOptions& options)
    : kernels_(choose_kernels(options.isa)),
      team_(options.threads),
      packer_(kernels_, team_),
      workers_(static_cast<size_t>(team_.size())) {
  info_.name = "cpu";
  info_.kernels = kernels_.name;
  info_.threads = team_.size();
  info_.numerics_id = kernels_.numerics_id;
}

LinearPtr CpuBackend::pack(const LinearSpec& spec, TensorSource& source) {
  auto linear = packer_.pack(spec, source);
  need_.features = std::max(need_.features, linear->in_features());
  int& outputs = linear->is_head() ? need_.head_outputs : need_.outputs;
  outputs = std::max(outputs, linear->out_features());
  need_.token_bytes = std::max(need_.token_bytes, linear->layout().token_bytes);
  need_.raw = need_.raw || linear->needs_raw();
  if (linear->needs_pairs()) {
    need_.pair_bytes = std::max(need_.pair_bytes, pair_bytes(linear->layout()));
  }
  return linear;
}

EmbeddingPtr CpuBackend::pack_embedding(const TensorRef& ref, bool tied, TensorSource& source) {
  // Rows are gathered from the panels, tied or not.
  LinearSpec spec{ref.name, {ref}, {}};
  auto table = packer_.pack(spec, source);
  need_.features = std::max(need_.features, table->in_features());
  if (tied) {
    need_.head_outputs = std::max(need_.head_outputs, table->out_features());
    need_.token_bytes = std::max(need_.token_bytes, table->layout().token_bytes);
    need_.raw = need_.raw || table->needs_raw();
    if (table->needs_pairs()) {
      need_.pair_bytes = std::max(need_.pair_bytes, pair_bytes(table->layout()));
    }
  }
  return std::make_unique<PackedEmbedding>(std::move(table));
}

BufferPtr CpuBackend::upload(std::span<const float> values) {
  BufferPtr buffer = make_buffer(values.size_bytes());
  if (!values.empty()) std::memcpy(buffer->data(), values.data(), values.size_bytes());
  return buffer;
}

BufferPtr CpuBackend::allocate(size_t bytes) { return make_buffer(bytes); }

RopePtr CpuBackend::make_rope(const RopeSpec& spec) {
  SERVAL_CHECK(spec.dims % 2 == 0 &&
               spec.inverse_frequency.size() == static_cast<size_t>(spec.dims / 2));
  auto table = std::make_shared<RopeTable>();
  table->spec = spec;
  ropes_.push_back(table);
  return std::make_unique<CpuRope>(std::move(table));
}

KvLayer CpuBackend::make_kv_layer(KvType type, int kv_heads, int head_dim, int blocks) {
  if (head_dim <= 0 || head_dim > kMaxHeadDim || kv_heads <= 0 || blocks <= 0) {
    throw Error(ErrorCode::kUnsupported, "attention with " + std::to_string(kv_heads) +
                                             " KV heads of " + std::to_string(head_dim) +
                                             " is not supported (1 to 512 dimensions)");
  }
  KvLayer layer;
  layer.type = type;
  layer.kv_heads = kv_heads;
  layer.head_dim = head_dim;
  layer.blocks = blocks;
  layer.pieces = kv_heads;  // a head is what attention reads on its own
  layer.k_block_bytes = layer.v_block_bytes = kv_block_bytes(type, kv_heads, head_dim);
  layer.k = make_buffer(kv_buffer_bytes(layer.k_block_bytes, blocks));
  layer.v = make_buffer(kv_buffer_bytes(layer.v_block_bytes, blocks));
  need_.head_dim = std::max(need_.head_dim, head_dim);
  need_.kv_heads = std::max(need_.kv_heads, kv_heads);
  return layer;
}

size_t CpuBackend::scratch_bytes() const {
  size_t bytes = rows_.size() + wide_.size() + partials_.size() +
                 jobs_.capacity() * sizeof(AttentionJob) + merges_.capacity() * sizeof(Merge);
  for (const Worker& worker : workers_) {
    bytes += worker.alone.size();
    bytes += worker.rows.size() + worker.panel.size() + worker.out.size() + worker.attention.size();
  }
  for (const auto& rope : ropes_) {
    bytes += (rope->cosine.size() + rope->sine.size()) * sizeof(float);
  }
  return bytes;
}

KvView view_of(const KvLayer& layer) {
  static_assert(kKvRun * kKvTile == kKvSegment);
  KvView view;
  view.format = layer.type == KvType::kF32 ? kKvF32 : layer.type == KvType::kF16 ? kKvF16 : kKvQ8;
  view.head_dim = layer.head_dim;
  view.k = static_cast<uint8_t*>(layer.k->data());
  view.v = static_cast<uint8_t*>(layer.v->data());
  view.kv_heads = layer.kv_heads;
  view.k_bytes = layer.k_block_bytes / static_cast<size_t>(layer.kv_heads);
  view.v_bytes = layer.v_block_bytes / static_cast<size_t>(layer.kv_heads);
  return view;
}

void CpuBackend::reserve(const StepLimits& limits) {
  limits_ = limits;
  const size_t rows = static_cast<size_t>(std::max({limits.rows, kMaxLogitSlice, 1}));
  const size_t features = static_cast<size_t>(need_.features);
  const auto reserve_rows = [&](RowScratch& scratch, size_t count) {
    scratch.quantized.reserve(count * need_.token_bytes);
    if (need_.raw) scratch.raw.reserve(count * features * sizeof(float));
    if (need_.pair_bytes > 0) scratch.pairs.reserve(count * need_.pair_bytes);
  };
  reserve_rows(rows_, rows);
  wide_.reserve(rows * static_cast<size_t>(need_.outputs) * sizeof(float));
  const size_t logit_rows = static_cast<size_t>(std::min(limits.logit_rows, kMaxLogitSlice));
  logits_.reserve(logit_rows * static_cast<size_t>(need_.head_outputs) * sizeof(float));
  for (Worker& worker : workers_) {
    worker.rows.reserve(row_buffer_bytes(features));
    reserve_rows(worker.alone, kTileTokens);
    worker.panel.reserve(panel_scratch_bytes(need_.features));
    worker.out.reserve(result_bytes(rows));
  }
  for (const auto& rope : ropes_) {
    const size_t values = rows * static_cast<size_t>(rope->spec.dims / 2);
    rope->cosine.resize(values);
    rope->sine.resize(values);
  }
  reserve_attention(need_.head_dim, need_.kv_heads);
}

}  // namespace serval::cpu

namespace serval {
std::unique_ptr<Backend> create_cpu_backend(const BackendOptions& options) {
  return std::make_unique<cpu::CpuBackend>(options);
}

// An upper bound of what steps write to, for every kernel set; reserve() takes more address space.
size_t cpu_scratch_bytes(const ScratchNeeds& needs, const StepLimits& limits, int threads) {
  const auto rows = static_cast<size_t>(limits.rows);
  const int workers = threads > 0 ? threads : cpu::usable_cores();
  const size_t row_bytes = cpu::activation_bytes(needs) +
                           static_cast<size_t>(needs.outputs) * sizeof(float) +
                           static_cast<size_t>(needs.rotations) * 2 * sizeof(float);
  const size_t worker_bytes =
      cpu::row_buffer_bytes(static_cast<size_t>(needs.features)) +
      cpu::kTileTokens * cpu::activation_bytes(needs) + cpu::panel_scratch_bytes(needs.features) +
      cpu::result_bytes(rows) +
      cpu::attention_scratch_floats(cpu::kMaxQueries, needs.head_dim) * sizeof(float);
  return rows * row_bytes + static_cast<size_t>(workers) * worker_bytes +
         cpu::attention_plan_bytes(needs, limits, workers);
}
}  // namespace serval
