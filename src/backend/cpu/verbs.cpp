// The verbs of a step. Each is one run of the team: a phase over rows prepares them (norm,
// quantisation), a phase over output panels multiplies, and each panel's results are finished
// (bias, activation, residual) by the worker that has them in its cache.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "backend/cpu/backend_impl.h"
#include "base/check.h"

namespace serval::cpu {
namespace {

// From here on a panel is enough work for a claim of its own.
constexpr int kBulkRows = 32;

// Every worker prepares all rows of one tile for itself when these are at most so many more than
// its share: no phase to wait for, and no line of the tile that two cores write in turn.
constexpr int kMoreRows = 4;

const PackedLinear& packed(const Linear& linear) {
  return static_cast<const PackedLinear&>(linear);
}

NormJob job_of(const Norm& norm) {
  NormJob job;
  job.weight = norm.weight->floats();
  job.bias = norm.bias == nullptr ? nullptr : norm.bias->floats();
  job.epsilon = norm.epsilon;
  job.layer_norm = norm.kind == NormKind::kLayer;
  return job;
}

int valid_columns(const PackedPart& part, int panel) {
  return std::min(kPanelRows, part.rows - panel * kPanelRows);
}

// What another worker wrote is in its caches, which may be as far away as memory: ask for all of it
// at once before using it in order.
void fetch(const void* data, size_t bytes) {
  const char* at = static_cast<const char*>(data);
  for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(at + i, 0, 3);
}

// Panels that are multiplied at once: with few rows, one keeps the stream from memory simple.
int panels_at_once(int rows) { return rows > kFewRows ? 2 : 1; }

}  // namespace

// ---- products

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
    worker.row.reserve((static_cast<size_t>(linear.in_features()) + 16) * sizeof(float));
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
  return {x,
          row_ids,
          norm,
          &linear,
          activations_in(rows_, linear, rows, tile),
          ++verbs_,
          rows <= kTileTokens && rows - (rows + team_.size() - 1) / team_.size() <= kMoreRows};
}

void CpuBackend::prepare_row(const float* x, int row, const Norm* norm, const Activations& to,
                             float* buffer) {
  const int k = to.layout.k;
  if (norm != nullptr) {
    kernels_.norm(x, k, job_of(*norm), buffer);
    x = buffer;
  }
  const int first = row / to.tile * to.tile;
  const int nr = std::min(to.tile, to.rows - first);
  if (to.quantized != nullptr) {
    kernels_.quantize(x, to.layout,
                      to.quantized + static_cast<size_t>(first) * to.layout.token_bytes, nr,
                      row - first);
  }
  if (to.raw != nullptr) {
    float* out = to.raw + static_cast<ptrdiff_t>(first) * k + (row - first);
    for (int i = 0; i < k; ++i) out[static_cast<ptrdiff_t>(i) * nr] = x[i];
  }
  if (to.pairs != nullptr) {
    uint32_t* tile =
        to.pairs + static_cast<size_t>(first) * (pair_bytes(to.layout) / sizeof(uint32_t));
    kernels_.round_pairs(x, to.layout, tile, nr, row - first);
  }
}

void CpuBackend::prepare(int worker, Range rows, const Input& input, const Activations& to) {
  float* buffer = workers_[static_cast<size_t>(worker)].row.as<float>();
  const size_t bytes = static_cast<size_t>(input.x.cols) * sizeof(float);
  if (rows.first < rows.end) fetch(input.row(rows.first), bytes);
  for (int row = rows.first; row < rows.end; ++row) {
    if (row + 1 < rows.end) fetch(input.row(row + 1), bytes);
    prepare_row(input.row(row), row, input.norm, to, buffer);
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

int CpuBackend::grain(int count, int rows) const {
  return rows >= kBulkRows ? 1 : team_.even_grain(count);
}

int CpuBackend::panel_units(const PackedLinear& linear, int rows) {
  const int step = panels_at_once(rows);
  int units = 0;
  for (const PackedPart& part : linear.parts()) units += (part.panels + step - 1) / step;
  return units;
}

template <typename Each>
void CpuBackend::for_panels(int worker, Range units, const PackedLinear& linear,
                            const Activations& activations, const Each& each) {
  const int rows = activations.rows;
  const int step = panels_at_once(rows);
  const PackedPart* part = linear.parts().data();
  int before = 0;  // units of the parts before `part`
  for (int unit = units.first; unit < units.end; ++unit) {
    for (int own; unit >= before + (own = (part->panels + step - 1) / step); ++part) before += own;
    const int panel = (unit - before) * step;
    const bool two = step == 2 && panel + 1 < part->panels;
    const float* y =
        multiply(worker, activations, {part, panel}, two ? PanelRef{part, panel + 1} : PanelRef{});
    each(*part, panel, y);
    if (two) each(*part, panel + 1, y + static_cast<ptrdiff_t>(rows) * kPanelRows);
  }
}

// With few rows the weights' way from memory is the limit: first a stretch of gate panels, then the
// same of up, so that each is one long stream.
template <typename Each>
void CpuBackend::gated_few(int worker, Range panels, const PackedLinear& linear,
                           const Activations& activations, const Each& each) {
  const std::vector<PackedPart>& parts = linear.parts();
  const ptrdiff_t step = static_cast<ptrdiff_t>(activations.rows) * kPanelRows;
  for (int first = panels.first; first < panels.end; first += kStretch) {
    const int count = std::min(kStretch, panels.end - first);
    for (int i = 0; i < 2 * count; ++i) {
      multiply(worker, activations, {&parts[static_cast<size_t>(i / count)], first + i % count}, {},
               i * step);
    }
    const float* out = workers_[static_cast<size_t>(worker)].out.as<float>();
    for (int i = 0; i < count; ++i) each(first + i, out + i * step, out + (count + i) * step);
  }
}

// ---- verbs

void CpuBackend::begin_step(const ForwardBatch& batch) {
  batch_ = batch;
  const int rows = batch.rows();
  for (const auto& rope : ropes_) {
    const size_t values = static_cast<size_t>(rows) * rope->spec.inverse_frequency.size();
    if (rope->cosine.size() < values) {
      rope->cosine.resize(values);
      rope->sine.resize(values);
    }
  }
  const auto rotations = [&](int, int first, int end) {
    for (const auto& rope : ropes_) {
      const std::vector<double>& frequency = rope->spec.inverse_frequency;
      const double magnitude = static_cast<double>(rope->spec.magnitude);
      for (int row = first; row < end; ++row) {
        const double position = batch_.positions[static_cast<size_t>(row)];
        const size_t at = static_cast<size_t>(row) * frequency.size();
        for (size_t i = 0; i < frequency.size(); ++i) {
          const double angle = position * frequency[i];
          rope->cosine[at + i] = static_cast<float>(std::cos(angle) * magnitude);
          rope->sine[at + i] = static_cast<float>(std::sin(angle) * magnitude);
        }
      }
    }
  };
  team_.run({{rows, team_.even_grain(rows), rotations}});
}

void CpuBackend::embed(const Embedding& table, float scale, Tensor x) {
  const PackedPart& part = static_cast<const PackedEmbedding&>(table).table().parts()[0];
  const auto decode = kernels_.decode_row[static_cast<size_t>(part.type)];
  const auto gather = [&](int, int first, int end) {
    for (int row = first; row < end; ++row) {
      const int token = batch_.tokens[static_cast<size_t>(row)];
      SERVAL_CHECK(token >= 0 && token < part.rows);
      decode(part.panel(token / kPanelRows), x.cols, token % kPanelRows, x.row(row));
      if (scale != 1.0F) kernels_.scale(scale, x.cols, x.row(row));
    }
  };
  team_.run({{batch_.rows(), team_.even_grain(batch_.rows()), gather}});
}

const RowSpan& CpuBackend::span_of(int row) const {
  size_t i = 0;
  while (row >= batch_.spans[i].first_row + batch_.spans[i].rows) ++i;
  return batch_.spans[i];
}

// The query heads of one KV head, its key and its value: norm, rotation, into q and the cache.
void CpuBackend::finish_head(const Finish& finish, const RowSpan& span, int row, int kv_head) {
  const int dim = finish.kv.head_dim;
  const int group = finish.heads / finish.kv_heads;
  const RopeTable& rope = *finish.rope;
  float* in = wide_.as<float>() + static_cast<ptrdiff_t>(row) * finish.linear->out_features();
  const bool halves = rope.spec.style == RopeStyle::kHalves;
  const auto turn = [&](float* head, const Norm* norm) {
    if (norm != nullptr) kernels_.norm(head, dim, job_of(*norm), head);
    kernels_.rope(head, rope.cosine_of(row), rope.sine_of(row), rope.spec.dims, halves);
  };
  for (int h = kv_head * group; h < (kv_head + 1) * group; ++h) {
    float* head = finish.q.row(row) + static_cast<ptrdiff_t>(h) * dim;
    std::memcpy(head, in + static_cast<ptrdiff_t>(h) * dim,
                static_cast<size_t>(dim) * sizeof(float));
    turn(head, finish.qk_norm == nullptr ? nullptr : &finish.qk_norm->q);
  }
  float* key = in + static_cast<ptrdiff_t>(finish.heads + kv_head) * dim;
  const float* value = key + static_cast<ptrdiff_t>(finish.kv_heads) * dim;
  turn(key, finish.qk_norm == nullptr ? nullptr : &finish.qk_norm->k);

  const int position = span.past + row - span.first_row;
  const int slot = position % kBlockTokens;
  const BlockId id =
      batch_.block_tables[static_cast<size_t>(span.first_block + position / kBlockTokens)];
  const size_t block = static_cast<size_t>(id);
  const size_t head = static_cast<size_t>(kv_head);
  kernels_.store_k(finish.kv.format, key, dim, slot,
                   finish.kv.k + block * finish.kv.k_block_bytes + head * finish.kv.k_head_bytes);
  kernels_.store_v(finish.kv.format, value, dim, slot,
                   finish.kv.v + block * finish.kv.v_block_bytes + head * finish.kv.v_head_bytes);
}

void CpuBackend::attention_in(Tensor x, const Norm& norm, const Linear& qkv, const QkNorm* qk_norm,
                              const Rope& rope, KvLayer& kv, Tensor q) {
  const PackedLinear& linear = packed(qkv);
  const int rows = x.rows;
  const Input input = input_for(linear, x, rows, nullptr, &norm);
  wide_.reserve(static_cast<size_t>(rows) * static_cast<size_t>(linear.out_features()) *
                sizeof(float));
  Finish finish{&linear,
                qk_norm,
                &static_cast<const CpuRope&>(rope).table(),
                view_of(kv),
                kv.kv_heads,
                q.cols / kv.head_dim,
                q};
  SERVAL_CHECK(linear.out_features() == (finish.heads + 2 * kv.kv_heads) * kv.head_dim);
  const auto prepared = [&](int worker, int first, int end) {
    prepare(worker, {first, end}, input, input.shared);
  };
  const auto copy_out = [&](const PackedPart& part, int panel, const float* y) {
    const int columns = valid_columns(part, panel);
    float* to = wide_.as<float>() + part.first_output + panel * kPanelRows;
    for (int r = 0; r < rows; ++r, to += linear.out_features()) {
      std::memcpy(to, y + r * kPanelRows, static_cast<size_t>(columns) * sizeof(float));
    }
  };
  const auto product = [&](int worker, int first, int end) {
    for_panels(worker, {first, end}, linear, activations_of(worker, input), copy_out);
  };
  const auto heads = [&](int, int first, int end) {
    for (int unit = first; unit < end; ++unit) {  // by head, like the panels that made them
      const int row = unit % rows;
      finish_head(finish, span_of(row), row, unit / rows);
    }
  };
  const int units = panel_units(linear, rows);
  const int head_units = rows * kv.kv_heads;
  team_.run({{input.rows_to_share(), team_.even_grain(rows), prepared},
             {units, grain(units, rows), product},
             {head_units, team_.even_grain(head_units), heads}});
}

void CpuBackend::project_add(Tensor h, const Linear& linear, const Norm* post, Tensor x) {
  const PackedLinear& matrix = packed(linear);
  const int rows = x.rows;
  const Input input = input_for(matrix, h, rows, nullptr, nullptr);
  const int width = matrix.out_features();
  if (post != nullptr) {
    wide_.reserve(static_cast<size_t>(rows) * static_cast<size_t>(width) * sizeof(float));
  }
  const auto prepared = [&](int worker, int first, int end) {
    prepare(worker, {first, end}, input, input.shared);
  };
  const auto add_or_keep = [&](const PackedPart& part, int panel, const float* y) {
    const int columns = valid_columns(part, panel);
    const int column = part.first_output + panel * kPanelRows;
    if (post == nullptr) return kernels_.add_panel(y, rows, columns, x.row(0) + column, x.stride);
    for (int r = 0; r < rows; ++r, y += kPanelRows) {
      std::memcpy(wide_.as<float>() + static_cast<ptrdiff_t>(r) * width + column, y,
                  static_cast<size_t>(columns) * sizeof(float));
    }
  };
  const auto product = [&](int worker, int first, int end) {
    for_panels(worker, {first, end}, matrix, activations_of(worker, input), add_or_keep);
  };
  const auto post_norm = [&](int, int first, int end) {
    for (int r = first; r < end; ++r) {
      float* y = wide_.as<float>() + static_cast<ptrdiff_t>(r) * width;
      kernels_.norm(y, width, job_of(*post), y);
      kernels_.add(y, width, x.row(r));
    }
  };
  const int units = panel_units(matrix, rows);
  const int row_grain = team_.even_grain(rows);
  team_.run({{input.rows_to_share(), row_grain, prepared},
             {units, grain(units, rows), product},
             {post == nullptr ? 0 : rows, row_grain, post_norm}});
}

void CpuBackend::ffn_in(Tensor x, const Norm& norm, const Linear& linear, Activation activation,
                        Tensor h) {
  const PackedLinear& matrix = packed(linear);
  const int rows = x.rows;
  const Input input = input_for(matrix, x, rows, nullptr, &norm);
  const bool gated = is_gated(activation);
  const bool silu = activation == Activation::kSiluGated || activation == Activation::kSilu;
  const auto act = silu ? kernels_.silu : kernels_.gelu_tanh;
  const std::vector<PackedPart>& parts = matrix.parts();
  SERVAL_CHECK(parts.size() == (gated ? 2U : 1U) && parts[0].rows == h.cols);
  const auto prepared = [&](int worker, int first, int end) {
    prepare(worker, {first, end}, input, input.shared);
  };
  const auto finish = [&](int panel, const float* gate, const float* up) {
    act({gate, up, rows, valid_columns(parts[0], panel), h.row(0) + panel * kPanelRows, h.stride});
  };
  const auto product = [&](int worker, int first, int end) {
    const Activations& activations = activations_of(worker, input);
    if (gated && rows <= kFewRows)
      return gated_few(worker, {first, end}, matrix, activations, finish);
    for (int panel = first; panel < end; ++panel) {
      const float* gate = multiply(worker, activations, {&parts[0], panel},
                                   gated ? PanelRef{&parts[1], panel} : PanelRef{});
      finish(panel, gate, gated ? gate + static_cast<ptrdiff_t>(rows) * kPanelRows : nullptr);
    }
  };
  const int panels = parts[0].panels;
  team_.run({{input.rows_to_share(), team_.even_grain(rows), prepared},
             {panels, grain(panels, rows), product}});
}

void CpuBackend::hand_out_hidden(Tensor x, const Norm& norm, LogitSink& sink) {
  const int total = static_cast<int>(batch_.hidden_rows.size());
  for (int first = 0; first < total; first += kMaxLogitSlice) {
    const int rows = std::min(kMaxLogitSlice, total - first);
    logits_.reserve(static_cast<size_t>(rows) * static_cast<size_t>(x.cols) * sizeof(float));
    const Tensor hidden{logits_.as<float>(), rows, x.cols, x.cols};
    const auto normed = [&](int, int begin, int end) {
      for (int r = begin; r < end; ++r) {
        kernels_.norm(x.row(batch_.hidden_rows[static_cast<size_t>(first + r)]), x.cols,
                      job_of(norm), hidden.row(r));
      }
    };
    team_.run({{rows, team_.even_grain(rows), normed}});
    sink.hidden(first, hidden);
  }
}

void CpuBackend::head(Tensor x, const Norm& norm, const Linear& output, const HeadParams& params,
                      LogitSink& sink) {
  hand_out_hidden(x, norm, sink);
  const PackedLinear& matrix = packed(output);
  const int vocab = matrix.out_features();
  const int total = static_cast<int>(batch_.logit_rows.size());
  for (int first = 0; first < total; first += kMaxLogitSlice) {
    const int rows = std::min(kMaxLogitSlice, total - first);
    const Input input = input_for(matrix, x, rows, batch_.logit_rows.data() + first, &norm);
    logits_.reserve(static_cast<size_t>(rows) * static_cast<size_t>(vocab) * sizeof(float));
    const Tensor logits{logits_.as<float>(), rows, vocab, vocab};
    const auto prepared = [&](int worker, int begin, int end) {
      prepare(worker, {begin, end}, input, input.shared);
    };
    const auto finish = [&](const PackedPart& part, int panel, const float* y) {
      const int columns = valid_columns(part, panel);
      for (int r = 0; r < rows; ++r, y += kPanelRows) {
        float* to = logits.row(r) + part.first_output + panel * kPanelRows;
        std::memcpy(to, y, static_cast<size_t>(columns) * sizeof(float));
        if (params.scale != 1.0F) kernels_.scale(params.scale, columns, to);
        if (params.softcap > 0.0F) kernels_.softcap(params.softcap, columns, to);
      }
    };
    const auto product = [&](int worker, int begin, int end) {
      for_panels(worker, {begin, end}, matrix, activations_of(worker, input), finish);
    };
    const int units = panel_units(matrix, rows);
    team_.run({{input.rows_to_share(), team_.even_grain(rows), prepared},
               {units, grain(units, rows), product}});
    sink.logits(first, logits);
  }
}

}  // namespace serval::cpu
