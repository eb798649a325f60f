// Plans attention as independent jobs and runs them.
//
// A job is (rows of one sequence, KV head); its query heads and rows share every expanded K/V tile.
// A step with few of these, as a long decode has, makes jobs of their segments, whose results are
// merged in order afterwards. The kernel merges segments in the same way itself, so the plan never
// changes a bit. Rows with much to read come first, so that the last jobs are short.
#include <algorithm>

#include "backend/cpu/backend_impl.h"
#include "base/check.h"

namespace serval::cpu {
namespace {

constexpr int kJobQueries = 64;  // rows x heads of one job: enough to share the expanded tiles
constexpr int kSplitBelow = 4;   // jobs per worker: with fewer, their segments are jobs

int rows_of_job(int group) { return std::max(1, kJobQueries / group); }

int segments_until(int position) { return position / kSegmentTokens + 1; }

int first_segment(int position, int window) {
  return window > 0 ? std::max(0, position - window + 1) / kSegmentTokens : 0;
}

}  // namespace

size_t attention_plan_bytes(const ScratchNeeds& needs, const StepLimits& limits, int workers) {
  const auto rows = static_cast<size_t>(limits.rows);
  const size_t split_items = size_t{kSplitBelow} * static_cast<size_t>(workers);
  const auto segments = static_cast<size_t>(segments_until(limits.context));
  const size_t jobs = rows * static_cast<size_t>(needs.kv_heads) + split_items * (segments + 1);
  // Jobs that are split are few, and each has rows_of_job() rows of a group of heads.
  const size_t queries =
      std::min(rows * static_cast<size_t>(needs.heads),
               split_items * static_cast<size_t>(std::max(kJobQueries, needs.heads)));
  return jobs * sizeof(AttentionJob) +
         queries * segments * attention_partial_floats(needs.head_dim) * sizeof(float);
}

void CpuBackend::reserve_attention(int head_dim, int kv_heads) {
  if (head_dim == 0) return;
  const size_t rows = static_cast<size_t>(std::max(limits_.rows, 1));
  const size_t heads = static_cast<size_t>(std::max(kv_heads, 1));
  const size_t split_items = size_t{kSplitBelow} * static_cast<size_t>(team_.size());
  const size_t segments = static_cast<size_t>(segments_until(limits_.context));
  for (Worker& worker : workers_) {
    worker.attention.reserve(attention_scratch_floats(kMaxQueries, head_dim) * sizeof(float));
  }
  jobs_.reserve(rows * heads + split_items * segments);
  merges_.reserve(split_items);
}

// A job per segment.
void CpuBackend::plan_split(const AttentionJob& whole, float*& partial) {
  const int queries = whole.rows * whole.group;
  const size_t floats = static_cast<size_t>(queries) * attention_partial_floats(whole.kv->head_dim);
  merges_.push_back({partial, whole.end_segment - whole.first_segment, queries, whole.group,
                     whole.o, whole.o_stride});
  for (int s = whole.first_segment; s < whole.end_segment; ++s) {
    AttentionJob job = whole;
    job.first_segment = s;
    job.end_segment = s + 1;
    job.partial = partial;
    partial += floats;
    jobs_.push_back(job);
  }
}

// All rows of a step, for one KV head.
void CpuBackend::plan_head(const AttentionJob& common, int head, const Tensor& q, const Tensor& o,
                           bool split, float*& partial) {
  const ptrdiff_t column = static_cast<ptrdiff_t>(head) * common.group * common.kv->head_dim;
  const int block_rows = rows_of_job(common.group);
  for (const RowSpan& span : batch_.spans) {
    for (int row = (span.rows - 1) / block_rows * block_rows; row >= 0; row -= block_rows) {
      AttentionJob job = common;
      job.kv_head = head;
      job.blocks = batch_.block_tables.data() + span.first_block;
      job.rows = std::min(block_rows, span.rows - row);
      job.position = span.past + row;
      job.q = q.row(span.first_row + row) + column;
      job.o = o.row(span.first_row + row) + column;
      job.first_segment = first_segment(job.position, job.window);
      job.end_segment = segments_until(job.position + job.rows - 1);
      if (split && job.end_segment - job.first_segment > 1) {
        plan_split(job, partial);
      } else {
        jobs_.push_back(job);
      }
    }
  }
}

void CpuBackend::plan_attention(const Tensor& q, const KvView& view, const KvLayer& kv,
                                const AttentionParams& params, const Tensor& o) {
  AttentionJob common = {};
  common.kv = &view;
  common.group = params.heads / kv.kv_heads;
  common.q_stride = q.stride;
  common.o_stride = o.stride;
  common.scale = params.scale;
  common.softcap = params.softcap;
  common.window = params.window;

  const int block_rows = rows_of_job(common.group);
  int jobs = 0;
  size_t partials = 0;
  for (const RowSpan& span : batch_.spans) {
    jobs += (span.rows + block_rows - 1) / block_rows * kv.kv_heads;
    partials += static_cast<size_t>(span.rows) * static_cast<size_t>(params.heads) *
                static_cast<size_t>(segments_until(span.past + span.rows));
  }
  const bool split = jobs < kSplitBelow * team_.size();
  if (split) {
    partials_.reserve(partials * attention_partial_floats(kv.head_dim) * sizeof(float));
  }
  float* partial = split ? partials_.as<float>() : nullptr;
  jobs_.clear();
  merges_.clear();
  for (int head = 0; head < kv.kv_heads; ++head) {
    plan_head(common, head, q, o, split, partial);
  }
}

void CpuBackend::attention(Tensor q, const KvLayer& kv, const AttentionParams& params, Tensor o) {
  SERVAL_CHECK(params.heads % kv.kv_heads == 0 && params.heads / kv.kv_heads <= kMaxQueries);
  const KvView view = view_of(kv);
  for (Worker& worker : workers_) {
    worker.attention.reserve(attention_scratch_floats(kMaxQueries, kv.head_dim) * sizeof(float));
  }
  plan_attention(q, view, kv, params, o);
  const auto attend = [&](int worker, int first, int end) {
    for (int i = first; i < end; ++i) {
      AttentionJob& job = jobs_[static_cast<size_t>(i)];
      job.scratch = workers_[static_cast<size_t>(worker)].attention.as<float>();
      kernels_.attend(job);
    }
  };
  const size_t floats = attention_partial_floats(kv.head_dim);
  const auto merge_segments = [&](int, int first, int end) {
    for (int m = first; m < end; ++m) {
      const Merge& merge = merges_[static_cast<size_t>(m)];
      for (int query = 0; query < merge.queries; ++query) {
        kernels_.merge(merge.partials + static_cast<size_t>(query) * floats, merge.count,
                       static_cast<int64_t>(floats) * merge.queries, kv.head_dim,
                       merge.o + merge.o_stride * (query / merge.group) +
                           static_cast<ptrdiff_t>(query % merge.group) * kv.head_dim);
      }
    }
  };
  team_.run({{static_cast<int>(jobs_.size()), 1, attend},
             {static_cast<int>(merges_.size()), 1, merge_segments}});
}

}  // namespace serval::cpu
