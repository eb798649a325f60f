// Options shared by commands, spelt as the field spells them, and the reading of command lines.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "serval/engine.h"

namespace serval {

// Prepares `app` as every command's option set: --config, --print-config, --help with the example.
void add_common_options(CLI::App& app);

// Reads `arguments` (without program and command name) into `app`. Throws UsageError with the
// nearest name for unknown options. Returns false when --help or --print-config was asked for and
// printed.
bool read_options(CLI::App& app, std::vector<std::string> arguments);

// The candidate nearest to `text`, empty when none is near enough to be meant.
std::string nearest_name(const std::string& text, const std::vector<std::string>& candidates);

// "-m/--model", and whether a missing model may be downloaded without a question.
struct ModelOptions {
  std::string model;
  bool yes = false;
  bool offline = false;
};
void add_model_options(CLI::App& app, ModelOptions& options);

// Threads, backend, context and KV memory: what an Engine is made with.
struct EngineOptions {
  int threads = 0;
  int context = 0;
  int batch = 512;
  int parallel = 0;  // 0: as the command needs
  std::string backend = "cpu";
  std::string kv_type = "f16";
  std::optional<int> gpu_layers;
  std::string kv_cache_dir;
  int64_t kv_cache_bytes = EngineConfig().kv_cache_bytes;
  bool verbose = false;
};
void add_engine_options(CLI::App& app, EngineOptions& options);
// Says what was asked for but cannot take effect.
EngineConfig engine_config(const EngineOptions& options, const std::string& model_path);

// Every option is optional here: what was not given keeps the model's recommendation.
struct SamplingOptions {
  std::optional<float> temperature, top_p, min_p, typical_p, top_n_sigma, repeat_penalty,
      presence_penalty, frequency_penalty, dry_multiplier, dry_base, xtc_probability, xtc_threshold,
      mirostat_tau, mirostat_eta;
  std::optional<int> top_k, repeat_last_n, dry_allowed_length, dry_penalty_last_n, mirostat;
  std::optional<uint64_t> seed;
  std::vector<std::string> samplers, logit_bias;
};
void add_sampling_options(CLI::App& app, SamplingOptions& options);
// Throws UsageError for a malformed --logit-bias.
SamplingParams sampling_params(const SamplingOptions& options, const SamplingParams& recommended);

}  // namespace serval
