// The verbs of a step. Each is one run of the team: a phase over rows prepares them (norm,
// quantisation), a phase over output panels multiplies, and each panel's results are finished
// (bias, activation, residual) by the worker that has them in its cache.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "backend/cpu/backend_impl.h"
#include "backend/kv_storage.h"
#include "base/check.h"

namespace serval::cpu {
namespace {

// From here on a panel is enough work for a claim of its own.
constexpr int kBulkRows = 32;

const PackedLinear& packed(const Linear& linear) {
  return static_cast<const PackedLinear&>(linear);
}

int valid_columns(const PackedPart& part, int panel) {
  return std::min(kPanelRows, part.rows - panel * kPanelRows);
}

// These rows of a panel's results, 16 each, of which `columns` count, to rows of `to`.
void copy_panel(const float* y, int columns, Range rows, float* to, ptrdiff_t stride) {
  for (int row = rows.first; row < rows.end; ++row, y += kPanelRows) {
    float* out = to + row * stride;
    if (columns == kPanelRows) {
      std::memcpy(out, y, kPanelRows * sizeof(float));  // of known size: one move
    } else {
      std::memcpy(out, y, static_cast<size_t>(columns) * sizeof(float));
    }
  }
}

// Panels that are multiplied at once: with few rows, one keeps the stream from memory simple.
int panels_at_once(int rows) { return rows > kFewRows ? 2 : 1; }

}  // namespace

// ---- products

template <typename Work>
Phase CpuBackend::rows_phase(const Input& input, const Work& work) const {
  return {input.pieces(), team_.even_grain(input.pieces()), work};
}

template <typename Work>
Phase CpuBackend::product_phase(const Input& input, int units, const Work& work) const {
  const int items = input.groups * units;
  return {items, input.shared.rows >= kBulkRows ? 1 : team_.even_grain(items), work};
}

int CpuBackend::panel_units(const PackedLinear& linear, int rows) {
  const int step = panels_at_once(rows);
  int units = 0;
  for (const PackedPart& part : linear.parts()) units += (part.panels + step - 1) / step;
  return units;
}

template <typename Each>
void CpuBackend::for_groups(int worker, Range items, const Input& input, int units,
                            const Each& each) {
  const Activations& all = activations_of(worker, input);
  const int tiles = (all.rows + all.tile - 1) / all.tile;
  for (int g = items.first / units; g * units < items.end; ++g) {
    const Range own = split(tiles, g, input.groups);
    const Range rows = {own.first * all.tile, std::min(own.end * all.tile, all.rows)};
    const Range part = {std::max(items.first - g * units, 0),
                        std::min(items.end - g * units, units)};
    each(part, rows, part_of(all, rows));
  }
}

template <typename Each>
void CpuBackend::for_panels(int worker, Range items, const Input& input, const Each& each) {
  const std::vector<PackedPart>& parts = input.linear->parts();
  const int step = panels_at_once(input.shared.rows);
  const auto multiply_units = [&](Range units, Range rows, const Activations& activations) {
    const PackedPart* part = parts.data();
    int before = 0;  // units of the parts before `part`
    for (int unit = units.first; unit < units.end; ++unit) {
      for (int own; unit >= before + (own = (part->panels + step - 1) / step); ++part) {
        before += own;
      }
      const int panel = (unit - before) * step;
      const bool two = step == 2 && panel + 1 < part->panels;
      const float* y = multiply(worker, activations, {part, panel},
                                two ? PanelRef{part, panel + 1} : PanelRef{});
      each(*part, panel, rows, y);
      if (two) each(*part, panel + 1, rows, y + static_cast<ptrdiff_t>(rows.size()) * kPanelRows);
    }
  };
  for_groups(worker, items, input, panel_units(*input.linear, input.shared.rows), multiply_units);
}

// With few rows the weights' way from memory is the limit: first a stretch of gate panels, then the
// same of up, so that each is one long stream.
template <typename Each>
void CpuBackend::gated_few(int worker, Range panels, const PackedLinear& linear,
                           const Activations& activations, const Each& each) {
  const std::vector<PackedPart>& parts = linear.parts();
  const ptrdiff_t step = static_cast<ptrdiff_t>(activations.rows) * kPanelRows;
  const int stretch = kStretch * kFewRows / activations.rows;
  for (int first = panels.first; first < panels.end; first += stretch) {
    const int count = std::min(stretch, panels.end - first);
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
  const KvView& kv = finish.kv;
  kernels_.store_k(kv.format, key, dim, slot,
                   kv.k + kv_piece_offset(kv.kv_heads, kv.k_bytes, id, kv_head));
  kernels_.store_v(kv.format, value, dim, slot,
                   kv.v + kv_piece_offset(kv.kv_heads, kv.v_bytes, id, kv_head));
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
    prepare(worker, input.rows_of(first, end), input, input.shared);
  };
  const Tensor wide{wide_.as<float>(), rows, linear.out_features(), linear.out_features()};
  const auto copy_out = [&](const PackedPart& part, int panel, Range group, const float* y) {
    copy_panel(y, valid_columns(part, panel), group,
               wide.row(0) + part.first_output + panel * kPanelRows, wide.stride);
  };
  const auto product = [&](int worker, int first, int end) {
    for_panels(worker, {first, end}, input, copy_out);
  };
  const auto heads = [&](int, int first, int end) {
    for (int unit = first; unit < end; ++unit) {  // in the order of the panels that made them
      const bool by_row = input.groups > 1;
      const int row = by_row ? unit / kv.kv_heads : unit % rows;
      finish_head(finish, span_of(row), row, by_row ? unit % kv.kv_heads : unit / rows);
    }
  };
  const int head_units = rows * kv.kv_heads;
  team_.run({rows_phase(input, prepared),
             product_phase(input, panel_units(linear, rows), product),
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
    prepare(worker, input.rows_of(first, end), input, input.shared);
  };
  const auto add_or_keep = [&](const PackedPart& part, int panel, Range group, const float* y) {
    const int columns = valid_columns(part, panel);
    const int column = part.first_output + panel * kPanelRows;
    if (post != nullptr) {
      copy_panel(y, columns, group, wide_.as<float>() + column, width);
    } else {
      kernels_.add_panel(y, group.size(), columns, x.row(group.first) + column, x.stride);
    }
  };
  const auto product = [&](int worker, int first, int end) {
    for_panels(worker, {first, end}, input, add_or_keep);
  };
  const auto post_norm = [&](int, int first, int end) {
    for (int r = first; r < end; ++r) {
      float* y = wide_.as<float>() + static_cast<ptrdiff_t>(r) * width;
      kernels_.norm(y, width, job_of(*post), y);
      kernels_.add(y, width, x.row(r));
    }
  };
  team_.run({rows_phase(input, prepared),
             product_phase(input, panel_units(matrix, rows), product),
             {post == nullptr ? 0 : rows, team_.even_grain(rows), post_norm}});
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
    prepare(worker, input.rows_of(first, end), input, input.shared);
  };
  const int panels = parts[0].panels;
  const auto product = [&](int worker, int first, int end) {
    for_groups(worker, {first, end}, input, panels,
               [&](Range part, Range group, const Activations& activations) {
                 const auto finish = [&](int panel, const float* gate, const float* up) {
                   act({gate, up, group.size(), valid_columns(parts[0], panel),
                        h.row(group.first) + panel * kPanelRows, h.stride});
                 };
                 if (gated && rows <= kFewRows) {
                   return gated_few(worker, part, matrix, activations, finish);
                 }
                 for (int panel = part.first; panel < part.end; ++panel) {
                   const float* gate = multiply(worker, activations, {&parts[0], panel},
                                                gated ? PanelRef{&parts[1], panel} : PanelRef{});
                   finish(
                       panel, gate,
                       gated ? gate + static_cast<ptrdiff_t>(group.size()) * kPanelRows : nullptr);
                 }
               });
  };
  team_.run({rows_phase(input, prepared), product_phase(input, panels, product)});
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
      prepare(worker, input.rows_of(begin, end), input, input.shared);
    };
    const auto finish = [&](const PackedPart& part, int panel, Range group, const float* y) {
      const int columns = valid_columns(part, panel);
      for (int r = group.first; r < group.end; ++r, y += kPanelRows) {
        float* to = logits.row(r) + part.first_output + panel * kPanelRows;
        std::memcpy(to, y, static_cast<size_t>(columns) * sizeof(float));
        if (params.scale != 1.0F) kernels_.scale(params.scale, columns, to);
        if (params.softcap > 0.0F) kernels_.softcap(params.softcap, columns, to);
      }
    };
    const auto product = [&](int worker, int begin, int end) {
      for_panels(worker, {begin, end}, input, finish);
    };
    team_.run(
        {rows_phase(input, prepared), product_phase(input, panel_units(matrix, rows), product)});
    sink.logits(first, logits);
  }
}

}  // namespace serval::cpu
