// Order: read the file's header; plan the memory from it (recorded forward pass); refuse what
// cannot fit; then read the weights while another thread builds the tokenizer and parses the
// template.
#include "engine/loader.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <future>

#include "engine/memory.h"
#include "sampling/processors.h"

namespace serval {
namespace {

using SteadyClock = std::chrono::steady_clock;

double megabytes(uint64_t bytes) { return static_cast<double>(bytes) / 1e6; }

Error invalid(std::string message) { return {ErrorCode::kInvalidArgument, std::move(message)}; }

void check_config(const EngineConfig& c) {
  const auto require = [](bool ok, const char* field, int64_t value, const char* range) {
    if (!ok) throw invalid(fmt::format("{} is {}, but must be {}", field, value, range));
  };
  if (c.model.empty()) throw invalid("no model given");
  require(c.threads >= 0 && c.threads <= 4096, "threads", c.threads, "between 0 (all) and 4096");
  require(c.context >= 0, "context", c.context, "0 (as trained) or more");
  require(c.kv_tokens >= 0, "kv_tokens", c.kv_tokens, "0 (one context) or more");
  require(c.max_sequences >= 1 && c.max_sequences <= 4096, "max_sequences", c.max_sequences,
          "between 1 and 4096");
  require(c.batch_tokens >= 1 && c.batch_tokens <= 65536, "batch_tokens", c.batch_tokens,
          "between 1 and 65536");
  require(c.max_queue >= 1, "max_queue", c.max_queue, "at least 1");
}

struct Text {
  std::unique_ptr<Tokenizer> tokenizer;
  std::shared_ptr<const ChatTemplate> chat_template;
  std::string template_source, template_problem;
};

Text load_text(const GgufFile& file) {
  Text text;
  text.tokenizer = Tokenizer::create(Vocab::from_gguf(file));
  text.template_source = file.get_string("tokenizer.chat_template").value_or("");
  if (text.template_source.empty()) {
    text.template_problem =
        "this model has no chat template: give the prompt as text, or bring a template";
  } else if (auto parsed = ChatTemplate::parse(text.template_source)) {
    text.chat_template = *parsed;
  } else {
    text.template_problem = "the model's chat template cannot be used: " + parsed.error().message();
  }
  return text;
}

// general.sampling.*: the maker's recommendation. Values out of range are ignored with a warning.
SamplingParams recommended_sampling(const GgufFile& file, std::vector<std::string>& warnings) {
  static constexpr std::pair<std::string_view, std::string_view> kKeys[] = {
      {"top_k", "top_k"},
      {"top_p", "top_p"},
      {"min_p", "min_p"},
      {"temp", "temperature"},
      {"penalty_last_n", "repeat_last_n"},
      {"penalty_repeat", "repeat_penalty"},
      {"xtc_probability", "xtc_probability"},
      {"xtc_threshold", "xtc_threshold"},
      {"mirostat", "mirostat"},
      {"mirostat_tau", "mirostat_tau"},
      {"mirostat_eta", "mirostat_eta"},
  };
  SamplingParams params;
  for (const auto& [key, field] : kKeys) {
    const std::string full = "general.sampling." + std::string(key);
    try {
      const std::optional<double> value = file.get_float(full);
      if (!value) continue;
      const Parameter& parameter = *find_parameter(field);
      if (*value < parameter.minimum || *value > parameter.maximum) {
        throw Error(ErrorCode::kCorrupt,
                    fmt::format("{} is {}, which is out of range", full, *value));
      }
      parameter.set(params, *value);
    } catch (const Error& e) {
      warnings.push_back(e.message() + "; ignored");
    }
  }
  if (params.mirostat == 1) params.mirostat = 0;
  return params;
}

void check_memory(const ModelPlan& plan, uint64_t kv_bytes) {
  const uint64_t available = machine_memory().available;
  const uint64_t needed = plan.weight_bytes + plan.workspace_bytes + kv_bytes;
  if (available == 0 || needed <= available) return;
  throw Error(
      ErrorCode::kOutOfMemory,
      fmt::format("the model needs {:.0f} MB of weights, {:.0f} MB of KV cache and {:.0f} MB "
                  "of workspace, but only {:.0f} MB are available: choose a smaller context "
                  "or model",
                  megabytes(plan.weight_bytes), megabytes(kv_bytes),
                  megabytes(plan.workspace_bytes), megabytes(available)));
}

uint64_t count_parameters(const GgufFile& file) {
  uint64_t total = 0;
  for (const GgufTensor& tensor : file.tensors()) {
    uint64_t elements = 1;
    for (const uint64_t n : tensor.ne) elements *= n;
    total += elements;
  }
  return total;
}

void fill_info(LoadedModel& out, const ModelPlan& plan, const Text& text) {
  ModelInfo& info = out.info;
  info.path = out.file->path();
  info.name = plan.config.name;
  info.architecture = plan.config.architecture;
  info.chat_template = text.template_source;
  info.vocab_size = out.tokenizer->vocab().size();
  info.trained_context = plan.config.context_length;
  info.layers = plan.config.layers;
  info.hidden_size = plan.config.hidden_size;
  info.parameters = count_parameters(*out.file);
  info.file_bytes = out.file->file_bytes();
  info.weight_bytes = plan.weight_bytes;
  info.workspace_bytes = plan.workspace_bytes;
  info.kv_bytes = static_cast<uint64_t>(out.kv->blocks()) * plan.kv_block_bytes;
  info.backend = out.backend->info().name;
  info.kernels = out.backend->info().kernels;
  info.threads = out.backend->info().threads;
  info.plan = planned_operators(plan);
  const auto& vocab_warnings = out.tokenizer->vocab().warnings;
  info.warnings.insert(info.warnings.end(), vocab_warnings.begin(), vocab_warnings.end());
  if (!text.template_source.empty() && text.chat_template == nullptr) {
    info.warnings.push_back(text.template_problem);
  }
  if (info.context > info.trained_context) {
    info.warnings.push_back(
        fmt::format("the context of {} tokens is longer than the {} the model "
                    "was trained for",
                    info.context, info.trained_context));
  }
}

}  // namespace

KvType kv_type(KvStorage storage) {
  switch (storage) {
    case KvStorage::kF16:
      return KvType::kF16;
    case KvStorage::kF32:
      return KvType::kF32;
    case KvStorage::kQ8_0:
      return KvType::kQ8_0;
  }
  return KvType::kF16;
}

PoolSizes size_pool(const PoolRequest& r) {
  constexpr int64_t kMaxBlocks = INT_MAX / kBlockTokens;
  const auto blocks_of = [](int64_t tokens) { return (tokens + kBlockTokens - 1) / kBlockTokens; };
  int64_t context = r.context > 0 ? r.context : r.trained_context;
  int64_t blocks = blocks_of(r.kv_tokens > 0 ? r.kv_tokens : context);
  if (r.kv_tokens == 0 && r.context == 0 && r.memory > 0) {
    const auto affordable =
        static_cast<int64_t>(r.memory / 4 / std::max<uint64_t>(r.block_bytes, 1));
    blocks = std::max<int64_t>(1, std::min(blocks, affordable));
  }
  blocks = std::min(blocks, kMaxBlocks);
  if (r.context > 0 && context > blocks * kBlockTokens) {
    throw invalid(fmt::format("a context of {} tokens does not fit a KV pool of {} tokens", context,
                              blocks * kBlockTokens));
  }
  context = std::min(context, blocks * kBlockTokens);
  return {static_cast<int>(context), static_cast<int>(blocks)};
}

LoadedModel load_everything(const EngineConfig& config) {
  const auto start = SteadyClock::now();
  check_config(config);
  LoadedModel out;
  out.file = GgufFile::open(config.model);
  const Architecture& architecture = find_architecture(*out.file);
  const ModelConfig model_config = architecture.read_config(*out.file);
  const KvType type = kv_type(config.kv_type);
  const PoolSizes pool =
      size_pool({config.context, config.kv_tokens, model_config.context_length,
                 KvCache::block_bytes(model_config, type), machine_memory().total});
  out.info.context = pool.context;
  // A step never holds more rows than the pool has tokens.
  out.limits.rows = static_cast<int>(
      std::min<int64_t>(config.batch_tokens, static_cast<int64_t>(pool.blocks) * kBlockTokens));
  out.limits.spans = std::min(config.max_sequences, out.limits.rows);
  out.limits.logit_rows = out.limits.rows;
  out.limits.context = pool.context;
  const BackendRow& backend = find_backend(config.backend);
  BackendInfo planned;
  planned.name = backend.name;
  planned.threads = config.threads;
  const ModelPlan plan = plan_model(*out.file, out.limits, type, planned, backend.scratch_bytes);
  out.traffic = step_traffic(plan);
  check_memory(plan, static_cast<uint64_t>(pool.blocks) * plan.kv_block_bytes);

  // If the weights fail to load, the future's destructor still waits for the text.
  std::future<Text> text_future =
      std::async(std::launch::async, [&] { return load_text(*out.file); });
  out.backend = std::make_unique<TimedBackend>(backend.create({config.threads, config.isa}));
  out.model = load_model(*out.file, *out.backend, config.progress);
  out.backend->reserve(out.limits);
  out.kv = std::make_unique<KvCache>(*out.backend, out.model->config(), type, pool.blocks);
  Text text = text_future.get();
  out.tokenizer = std::move(text.tokenizer);
  out.chat_template = text.chat_template;
  out.template_problem = text.template_problem;
  if (out.tokenizer->vocab().size() > model_config.vocab_size) {
    throw Error(ErrorCode::kCorrupt,
                fmt::format("{}: the tokenizer has {} tokens, but the embedding only {}",
                            config.model, out.tokenizer->vocab().size(), model_config.vocab_size));
  }
  fill_info(out, plan, text);
  out.info.sampling = recommended_sampling(*out.file, out.info.warnings);
  out.info.load_ms = std::chrono::duration<double, std::milli>(SteadyClock::now() - start).count();
  return out;
}

}  // namespace serval
