// Plans come from one recorded step of one row: what the model's own forward() asked for. Every
// activation has a row per token, so a step of n rows needs n times the workspace of one.
#include <algorithm>
#include <array>

#include "backend/recording.h"
#include "model/model.h"

namespace serval {
namespace {

// More than four activations of the largest sizes that a ModelConfig may have (config_reader.h).
constexpr size_t kOneRowFloats = size_t{1} << 22;

class NoLogits final : public LogitSink {
 public:
  void logits(int, Tensor) override {}
};

// Runs forward() over one token at position 0; returns the workspace floats it took.
size_t record(const Model& model, RecordingBackend& backend, KvType kv_type) {
  constexpr std::array<int32_t, 1> kZero = {0};
  constexpr std::array<RowSpan, 1> kSpan = {{{0, 1, 0, 0}}};
  ForwardBatch batch;
  batch.tokens = batch.positions = batch.block_tables = batch.logit_rows = kZero;
  batch.spans = kSpan;
  KvCache kv(backend, model.config(), kv_type, 1);
  Workspace workspace(backend, kOneRowFloats);
  NoLogits sink;
  model.forward(backend, batch, kv, workspace, sink);
  return workspace.floats_used();
}

// "blk.0.attn_qkv" -> {"blk.0", "attn_qkv"}; names outside layers stay whole: {"output", "output"}.
std::pair<std::string, std::string> split_layer(const std::string& name) {
  if (name.starts_with("blk.")) {
    const size_t dot = name.find('.', 4);
    return {name.substr(0, dot), name.substr(dot + 1)};
  }
  const std::string stem = name.substr(0, name.rfind(".weight"));
  return {stem, stem};
}

}  // namespace

ModelPlan plan_model(GgufFile& file, const StepLimits& limits, KvType kv_type,
                     const BackendInfo& target, ScratchBytes scratch) {
  RecordingBackend recording;
  const std::unique_ptr<Model> model = load_model(file, recording);
  const size_t row_floats = record(*model, recording, kv_type);
  ModelPlan plan;
  plan.config = model->config();
  const std::string kernel =
      target.kernels.empty() ? target.name : target.name + " " + target.kernels;
  std::string layer;
  for (const RecordedVerb& verb : recording.verbs()) {
    PlanRow& row = plan.rows.emplace_back();
    row.verb = verb.verb;
    row.kernel = kernel;
    row.weight_bytes = verb.weight_bytes;
    row.macs = verb.macs;
    if (verb.name.empty()) {
      row.what = verb.shape;
    } else {
      const auto [where, name] = split_layer(verb.name);
      layer = where;
      row.what = name + ": " + verb.shape;
    }
    row.layer = layer;
    plan.step_weight_bytes += verb.step_bytes;
    (verb.verb == "head" ? plan.head_macs : plan.macs_per_token) += verb.macs;
    plan.kv_bytes_per_token += verb.kv_bytes;
  }
  plan.weight_bytes = recording.packed_bytes() + recording.vector_bytes();
  plan.step_weight_bytes += recording.vector_bytes();
  plan.kv_block_bytes = KvCache::block_bytes(plan.config, kv_type);
  const auto slice = static_cast<uint64_t>(std::min(limits.logit_rows, kMaxLogitSlice));
  plan.workspace_bytes = sizeof(float) * (row_floats * static_cast<uint64_t>(limits.rows) +
                                          slice * static_cast<uint64_t>(plan.config.vocab_size));
  if (scratch != nullptr) {
    plan.workspace_bytes += scratch(recording.scratch_needs(), limits, target.threads);
  }
  return plan;
}

std::vector<PlannedOperator> planned_operators(const ModelPlan& plan) {
  std::vector<PlannedOperator> out;
  Operator projection = Operator::kAttentionOut;  // what project_add is now
  int layer = -1;
  for (const PlanRow& row : plan.rows) {
    PlannedOperator& planned = out.emplace_back();
    if (row.verb == "embed") {
      planned.op = Operator::kEmbed;
    } else if (row.verb == "attention_in") {
      planned.op = Operator::kAttentionIn;
      projection = Operator::kAttentionOut;
      ++layer;
    } else if (row.verb == "attention") {
      planned.op = Operator::kAttention;
    } else if (row.verb == "ffn_in") {
      planned.op = Operator::kFfnIn;
      projection = Operator::kFfnOut;
    } else if (row.verb == "head") {
      planned.op = Operator::kHead;
    } else {
      planned.op = projection;
    }
    const bool outside = planned.op == Operator::kEmbed || planned.op == Operator::kHead;
    planned.layer = outside ? -1 : layer;
    planned.what = row.what;
    planned.weight_bytes = row.weight_bytes;
    planned.macs = row.macs;
  }
  return out;
}

size_t workspace_floats(const Model& model, const StepLimits& limits) {
  RecordingBackend recording;
  return record(model, recording, KvType::kF32) * static_cast<size_t>(limits.rows);
}

}  // namespace serval
