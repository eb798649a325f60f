// The rows that a product reads, in the forms that kernels multiply, and one panel times all of
// them.
#include <algorithm>

#include "backend/cpu/backend_impl.h"

namespace serval::cpu {
namespace {

// So many rows are a group of their own, if there is a worker for it: it takes them through all
// panels, so that they stay in its caches; weights are read and unpacked once for each group.
constexpr int kGroupRows = 256;

// Every worker prepares all rows of one tile for itself when these are at most so many more than
// its share: no phase to wait for, and no line of the tile that two cores write in turn.
constexpr int kMoreRows = 4;

// What another worker wrote is in its caches, which may be as far away as memory: ask for all of it
// at once before using it in order.
void fetch(const void* data, size_t bytes) {
  const char* at = static_cast<const char*>(data);
  for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(at + i, 0, 3);
}

}  // namespace

NormJob job_of(const Norm& norm) {
  NormJob job;
  job.weight = norm.weight->floats();
  job.bias = norm.bias == nullptr ? nullptr : norm.bias->floats();
  job.epsilon = norm.epsilon;
  job.layer_norm = norm.kind == NormKind::kLayer;
  return job;
}

Activations part_of(const Activations& all, Range rows) {
  Activations part = all;
  part.rows = rows.size();
  const size_t first = static_cast<size_t>(rows.first);
  const ActivationLayout& layout = all.layout;
  if (all.quantized != nullptr) part.quantized += first * layout.token_bytes;
  if (all.raw != nullptr) part.raw += first * static_cast<size_t>(layout.k);
  if (all.pairs != nullptr) part.pairs += first * (pair_bytes(layout) / sizeof(uint32_t));
  return part;
}

void CpuBackend::size_for(const PackedLinear& linear, int rows) {
  const size_t n = static_cast<size_t>(rows);
  const auto size_rows = [&](RowScratch& scratch, size_t count) {
    if (linear.needs_quantized()) scratch.quantized.reserve(count * linear.layout().token_bytes);
    if (linear.needs_raw())
      scratch.raw.reserve(count * static_cast<size_t>(linear.in_features()) * sizeof(float));
    if (linear.needs_pairs()) scratch.pairs.reserve(count * pair_bytes(linear.layout()));
  };
  size_rows(rows_, n);
  for (Worker& worker : workers_) {
    size_rows(worker.alone, kTileTokens);
    worker.rows.reserve(row_buffer_bytes(static_cast<size_t>(linear.in_features())));
    worker.panel.reserve(panel_scratch_bytes(linear.in_features()));
    worker.out.reserve(result_bytes(n));
  }
}

Activations CpuBackend::activations_in(const RowScratch& scratch, const PackedLinear& linear,
                                       int rows, int tile) {
  Activations to;
  to.layout = linear.layout();
  to.rows = rows;
  to.tile = tile;
  to.quantized = linear.needs_quantized() ? scratch.quantized.as<uint8_t>() : nullptr;
  to.raw = linear.needs_raw() ? scratch.raw.as<float>() : nullptr;
  to.pairs = linear.needs_pairs() ? scratch.pairs.as<uint32_t>() : nullptr;
  return to;
}

CpuBackend::Input CpuBackend::input_for(const PackedLinear& linear, const Tensor& x, int rows,
                                        const int32_t* row_ids, const Norm* norm) {
  size_for(linear, rows);
  const int tile = rows > kFewRows ? kernels_.bulk_tile : kTileTokens;
  const bool alone =
      rows <= kTileTokens && rows - (rows + team_.size() - 1) / team_.size() <= kMoreRows;
  return {x,
          row_ids,
          norm,
          &linear,
          activations_in(rows_, linear, rows, tile),
          ++verbs_,
          alone,
          rows < tile * team_.size() ? 1 : tile,
          std::clamp(rows / kGroupRows, 1, team_.size())};
}

// `count` rows, to slots of one tile from row `row` of the step on.
void CpuBackend::prepare_rows(const float* const* x, int count, int row, const Activations& to) {
  const int k = to.layout.k;
  const int first = row / to.tile * to.tile;
  const int nr = std::min(to.tile, to.rows - first);
  if (to.quantized != nullptr) {
    kernels_.quantize(x, count, to.layout,
                      to.quantized + static_cast<size_t>(first) * to.layout.token_bytes, nr,
                      row - first);
  }
  for (int t = row - first; t < row - first + count; ++t, ++x) {
    if (to.raw != nullptr) {
      float* out = to.raw + static_cast<ptrdiff_t>(first) * k + t;
      for (int i = 0; i < k; ++i) out[static_cast<ptrdiff_t>(i) * nr] = (*x)[i];
    }
    if (to.pairs != nullptr) {
      uint32_t* tile =
          to.pairs + static_cast<size_t>(first) * (pair_bytes(to.layout) / sizeof(uint32_t));
      kernels_.round_pairs(*x, to.layout, tile, nr, t);
    }
  }
}

void CpuBackend::prepare(int worker, Range rows, const Input& input, const Activations& to) {
  const int k = to.layout.k;
  float* buffer = workers_[static_cast<size_t>(worker)].rows.as<float>();
  const size_t bytes = static_cast<size_t>(k) * sizeof(float);
  if (rows.first < rows.end) fetch(input.row(rows.first), bytes);
  const float* x[kTileTokens];
  for (int row = rows.first; row < rows.end;) {
    const int count = std::min(rows.end - row, to.tile - row % to.tile);
    for (int i = 0; i < count; ++i) {
      x[i] = input.row(row + i);
      if (row + i + 1 < rows.end) fetch(input.row(row + i + 1), bytes);
      if (input.norm == nullptr) continue;
      float* out = buffer + static_cast<ptrdiff_t>(i) * (k + 16);
      kernels_.norm(x[i], k, job_of(*input.norm), out);
      x[i] = out;
    }
    prepare_rows(x, count, row, to);
    row += count;
  }
}

const Activations& CpuBackend::activations_of(int worker, const Input& input) {
  if (!input.alone) return input.shared;
  Worker& own = workers_[static_cast<size_t>(worker)];
  if (own.alone_verb != input.verb) {
    own.alone_activations =
        activations_in(own.alone, *input.linear, input.shared.rows, input.shared.tile);
    prepare(worker, {0, input.shared.rows}, input, own.alone_activations);
    own.alone_verb = input.verb;
  }
  return own.alone_activations;
}

const float* CpuBackend::multiply(int worker, const Activations& activations, const PanelRef& panel,
                                  const PanelRef& second, ptrdiff_t at) {
  Worker& own = workers_[static_cast<size_t>(worker)];
  float* out = own.out.as<float>() + at;
  float* second_out = out + static_cast<ptrdiff_t>(activations.rows) * kPanelRows;
  const auto run = [&](const PanelRef& a, const PanelRef& b, float* to) {
    const PanelJob job{a.data(), b.data(), &activations, a.part->plane, own.panel.as<uint8_t>(),
                       to};
    kernels_.multiply[static_cast<size_t>(a.part->type)](job);
  };
  if (second.part == nullptr || second.part->type == panel.part->type) {
    run(panel, second, out);
  } else {
    run(panel, {}, out);
    run(second, {}, second_out);
  }
  const auto bias = [&](const PanelRef& of, float* values) {
    if (of.part == nullptr || of.part->bias.empty()) return;
    kernels_.add_bias(of.part->bias.data() + static_cast<ptrdiff_t>(of.index) * kPanelRows,
                      activations.rows, values);
  };
  bias(panel, out);
  bias(second, second_out);
  return out;
}

}  // namespace serval::cpu
