// Model: weights packed by a backend, and a forward pass that reads like the paper. One file per
// architecture in arch/; registry.cpp lists them. Const after load; borrows the backend.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "backend/workspace.h"
#include "format/gguf.h"
#include "model/config.h"
#include "model/kv_cache.h"
#include "serval/watch.h"

namespace serval {

class Model {
 public:
  virtual ~Model() = default;
  const ModelConfig& config() const { return config_; }
  // One step: writes K/V of all rows, gives the logits of batch.logit_rows to `sink`.
  virtual void forward(Backend& backend, const ForwardBatch& batch, KvCache& kv,
                       Workspace& workspace, LogitSink& sink) const = 0;

 protected:
  explicit Model(ModelConfig config) : config_(std::move(config)) {}
  ModelConfig config_;
};

// Called while weights stream in: bytes done, bytes in all.
using LoadProgress = std::function<void(uint64_t, uint64_t)>;

struct Architecture {
  std::string_view name;  // general.architecture
  // Reads and validates every hyper-parameter: type, range, divisibility. Throws Error(kCorrupt /
  // kUnsupported).
  ModelConfig (*read_config)(const GgufFile& file);
  // Checks every tensor's presence, type and shape, then packs. Throws Error.
  std::unique_ptr<Model> (*load)(GgufFile& file, ModelConfig config, Backend& backend,
                                 const LoadProgress& progress);
};

std::span<const Architecture> architectures();
// Throws Error(kUnsupported) listing the supported names.
const Architecture& find_architecture(const GgufFile& file);
std::unique_ptr<Model> load_model(GgufFile& file, Backend& backend,
                                  const LoadProgress& progress = {});

// What a step will do and need, found by running forward() on the recording backend
// (backend/recording.h).
struct PlanRow {
  std::string layer;   // "blk.0"
  std::string verb;    // "attention_in"
  std::string what;    // "attn_qkv: Q4_1 [960 x 576]"
  std::string kernel;  // device / kernel set
  uint64_t weight_bytes = 0;
  uint64_t macs = 0;  // per token
};
struct ModelPlan {
  ModelConfig config;
  std::vector<PlanRow> rows;
  uint64_t weight_bytes = 0;       // all packed weights
  uint64_t step_weight_bytes = 0;  // read by one decode step
  uint64_t macs_per_token = 0;     // matrix products, without the head
  uint64_t head_macs = 0;
  uint64_t kv_block_bytes = 0;
  uint64_t kv_bytes_per_token = 0;
  uint64_t workspace_bytes = 0;  // activations, logits and the backend's scratch for `limits`
};
// `target`: the backend that will run it, named in PlanRow::kernel; `scratch`: its row's function,
// null: scratch is not counted.
ModelPlan plan_model(GgufFile& file, const StepLimits& limits, KvType kv_type,
                     const BackendInfo& target = {}, ScratchBytes scratch = nullptr);
// The same, operator by operator, as work is accounted (TimedBackend).
std::vector<PlannedOperator> planned_operators(const ModelPlan& plan);
// Floats of Workspace that forward() takes for `rows` rows.
size_t workspace_floats(const Model& model, const StepLimits& limits);

}  // namespace serval
