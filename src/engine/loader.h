// Loader: from a path to everything a running engine needs, with sizes decided before memory is
// taken. Throws Error; Engine::load returns it as a Result.
#pragma once

#include <memory>
#include <string>

#include "backend/timed.h"
#include "engine/traffic.h"
#include "format/gguf.h"
#include "model/kv_cache.h"
#include "model/model.h"
#include "serval/engine.h"
#include "text/chat/template.h"
#include "text/tokenizer.h"

namespace serval {

// Members are destroyed in reverse order: what borrows goes before its lender.
struct LoadedModel {
  std::unique_ptr<GgufFile> file;
  std::unique_ptr<Tokenizer> tokenizer;
  std::shared_ptr<const ChatTemplate> chat_template;  // null: template_problem says why
  std::string template_problem;
  std::unique_ptr<TimedBackend> backend;
  std::unique_ptr<Model> model;
  std::unique_ptr<KvCache> kv;
  StepLimits limits;
  StepTraffic traffic;
  ModelInfo info;
};

LoadedModel load_everything(const EngineConfig& config);

KvType kv_type(KvStorage storage);

// How long sequences may be and how many blocks the pool has; from what was asked, what the model
// was trained for and the memory of this machine. Throws Error naming both numbers of a conflict.
struct PoolSizes {
  int context = 0;
  int blocks = 0;
};
struct PoolRequest {
  int context = 0;        // 0: as trained
  int64_t kv_tokens = 0;  // 0: one full context
  int trained_context = 0;
  uint64_t block_bytes = 0;
  uint64_t memory = 0;  // bytes this process may have in all; 0: unknown
};
PoolSizes size_pool(const PoolRequest& request);

}  // namespace serval
