// serval bench: prompt speed, decode speed at depth, decode speed of a batch, through the same
// engine that everything else uses, beside what the machine can do, measured before and after in
// this process.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <fstream>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "apps/command.h"
#include "apps/generation.h"
#include "apps/interrupt.h"
#include "apps/json_text.h"
#include "apps/model_argument.h"
#include "apps/options.h"
#include "apps/profile.h"
#include "apps/speed_rows.h"
#include "apps/speed_runs.h"
#include "apps/terminal.h"
#include "backend/cpu/probe.h"
#include "format/gguf.h"
#include "model/model.h"

namespace serval {
namespace {

namespace json = boost::json;

struct BenchOptions {
  ModelOptions model;
  EngineOptions engine;
  std::vector<std::string> positionals;
  std::vector<int> prompts = {512}, decodes = {128}, depths = {0, 2048}, batches = {1, 4, 16};
  int repetitions = 5;
  bool profile = false;
  bool json = false;
};

MachineLimits measure_machine(int threads, DotKind kind) {
  return {measure_read_bandwidth(threads), measure_dot_peak(threads, kind)};
}

// The dot products that most of the model's multiply-adds are: the plan's shapes begin with the
// format, as in "attn_qkv: BF16 [1152 x 896]".
DotKind kind_of(const ModelPlan& plan) {
  uint64_t all = 0;
  uint64_t bf16 = 0;
  uint64_t floats = 0;
  for (const PlanRow& row : plan.rows) {
    const size_t name = row.what.find(": ");
    const std::string_view shape =
        std::string_view(row.what).substr(name == std::string::npos ? 0 : name + 2);
    all += row.macs;
    if (shape.starts_with("BF16 ")) bf16 += row.macs;
    if (shape.starts_with("F16 ") || shape.starts_with("F32 ")) floats += row.macs;
  }
  return 2 * bf16 > all ? DotKind::kBf16 : 2 * floats > all ? DotKind::kFloat : DotKind::kInt8;
}

const char* name_of(DotKind kind) {
  return kind == DotKind::kBf16 ? "bfloat16" : kind == DotKind::kFloat ? "float32" : "int8";
}

// Ticks the hypervisor gave to others, and ticks in all: a noisy neighbour shows here.
std::pair<double, double> steal_ticks() {
  std::ifstream file("/proc/stat");
  std::string word;
  file >> word;
  double all = 0;
  double stolen = 0;
  for (int i = 0; i < 8; ++i) {
    double ticks = 0;
    file >> ticks;
    all += ticks;
    if (i == 7) stolen = ticks;
  }
  return {stolen, all};
}

std::vector<SpeedRow> planned_rows(const BenchOptions& options) {
  std::vector<SpeedRow> rows;
  for (const int tokens : options.prompts) {
    if (tokens > 0) rows.push_back({false, tokens, 0, 1, {}});
  }
  for (const int tokens : options.decodes) {
    for (const int depth : options.depths) {
      for (const int batch : options.batches) {
        if (tokens > 0) rows.push_back({true, tokens, depth, batch, {}});
      }
    }
  }
  return rows;
}

class Bench {
 public:
  Bench(BenchOptions options, std::string path)
      : options_(std::move(options)), path_(std::move(path)) {}

  int run() {
    rows_ = planned_rows(options_);
    if (rows_.empty()) throw UsageError("nothing to measure: -p and -n are both 0");
    read_plan();
    const auto steal_before = steal_ticks();
    before_ = measure_machine(options_.engine.threads, kind_);
    {
      const std::unique_ptr<Engine> engine = load_engine(config());
      info_ = engine->info();
      if (!options_.json) {
        print(fmt::format("{}  {} threads, {} kernels\n", terminal_safe(info_.name), info_.threads,
                          info_.kernels));
        print(table_head());
      }
      const InterruptScope scope;
      for (SpeedRow& row : rows_) measure(*engine, row);
      digest_ = logits_digest(*engine);
    }
    after_ = measure_machine(options_.engine.threads, kind_);
    const auto steal_after = steal_ticks();
    steal_percent_ = 100 * (steal_after.first - steal_before.first) /
                     std::max(1.0, steal_after.second - steal_before.second);
    report();
    return kExitDone;
  }

 private:
  void read_plan() {
    const std::unique_ptr<GgufFile> file = GgufFile::open(path_);
    StepLimits limits;
    limits.rows = options_.engine.batch;
    const KvType kv = options_.engine.kv_type == "f32"    ? KvType::kF32
                      : options_.engine.kv_type == "q8_0" ? KvType::kQ8_0
                                                          : KvType::kF16;
    plan_ = plan_model(*file, limits, kv);
    kind_ = kind_of(plan_);
    const int trained = plan_.config.context_length;
    const auto too_long = [&](const SpeedRow& row) { return row.depth + row.tokens + 1 > trained; };
    if (std::any_of(rows_.begin(), rows_.end(), too_long)) {
      notice(fmt::format("rows beyond the trained context of {} tokens are left out", trained));
      rows_.erase(std::remove_if(rows_.begin(), rows_.end(), too_long), rows_.end());
    }
    if (rows_.empty()) throw UsageError("every row is longer than the model's context");
  }

  // Room for the largest row at once, with whole blocks for every sequence.
  EngineConfig config() const {
    EngineConfig config = engine_config(options_.engine, path_);
    config.context = kDigestTokens + 2;
    int64_t kv_tokens = 2 * kDigestTokens;
    for (const SpeedRow& row : rows_) {
      const int length = row.depth + row.tokens + 2;
      config.context = std::max(config.context, length);
      config.max_sequences = std::max(config.max_sequences, row.batch);
      const int64_t blocks = (length + kBlockTokens - 1) / kBlockTokens + 1;
      kv_tokens = std::max(kv_tokens, blocks * kBlockTokens * row.batch);
    }
    config.kv_tokens = kv_tokens;
    return config;
  }

  void measure(Engine& engine, SpeedRow& row) {
    Profile before;
    // The first run warms caches, and computes the KV that later runs at depth find again.
    for (int i = -1; i < options_.repetitions; ++i) {
      if (i == 0) before = engine.work();
      const double rate =
          row.decode ? decode_rate(engine, row)
                     : prompt_rate(engine, row.tokens, 1000 + static_cast<uint64_t>(i + 1));
      if (i >= 0) row.rates.push_back(rate);
    }
    profiles_.push_back(work_between(before, engine.work()));
    if (options_.json) return;
    print(table_line(row, figures(row, plan_, options_.engine.batch, before_)));
    if (options_.profile) print(profile_table(profiles_.back(), before_));
  }

  void report() const {
    const MachineLimits limits{std::max(before_.gbytes_per_second, after_.gbytes_per_second),
                               std::max(before_.gmacs_per_second, after_.gmacs_per_second)};
    if (!options_.json) {
      print(
          fmt::format("machine  read {:.1f} GB/s before, {:.1f} after; {} dot products {:.0f} "
                      "GMAC/s before, {:.0f} after; {:.1f} % stolen\nlogits   {}\n",
                      before_.gbytes_per_second, after_.gbytes_per_second, name_of(kind_),
                      before_.gmacs_per_second, after_.gmacs_per_second, steal_percent_, digest_));
      return;
    }
    json::array rows;
    for (size_t i = 0; i < rows_.size(); ++i) {
      json::object row =
          row_json(rows_[i], figures(rows_[i], plan_, options_.engine.batch, limits));
      if (options_.profile) row["profile"] = profile_json(profiles_[i], limits);
      rows.push_back(std::move(row));
    }
    const auto machine = [](const MachineLimits& m) {
      return json::object{{"read_gbytes_per_second", m.gbytes_per_second},
                          {"dot_gmacs_per_second", m.gmacs_per_second}};
    };
    json::object out;
    out["model"] = {{"name", info_.name},
                    {"architecture", info_.architecture},
                    {"parameters", info_.parameters},
                    {"file_bytes", info_.file_bytes},
                    {"step_weight_bytes", plan_.step_weight_bytes},
                    {"macs_per_token", plan_.macs_per_token + plan_.head_macs}};
    out["machine"] = {{"threads", info_.threads},       {"backend", info_.backend},
                      {"kernels", info_.kernels},       {"dot_products", name_of(kind_)},
                      {"before", machine(before_)},     {"after", machine(after_)},
                      {"steal_percent", steal_percent_}};
    out["load_ms"] = info_.load_ms;
    out["rows"] = std::move(rows);
    out["logits_digest"] = digest_;
    print(pretty_json(out) + "\n");
  }

  BenchOptions options_;
  std::string path_, digest_;
  std::vector<SpeedRow> rows_;
  std::vector<Profile> profiles_;  // of the rows
  ModelPlan plan_;
  ModelInfo info_;
  MachineLimits before_, after_;
  DotKind kind_ = DotKind::kInt8;
  double steal_percent_ = 0;
};

int bench(BenchOptions options) {
  if (options.positionals.size() > 1) throw UsageError("bench takes one MODEL");
  if (!options.positionals.empty()) options.model.model = options.positionals.front();
  const std::string path = resolve_model(options.model.model, options.model);
  return Bench(std::move(options), path).run();
}

}  // namespace

Action define_bench(CLI::App& app) {
  const auto o = std::make_shared<BenchOptions>();
  app.add_option("arguments", o->positionals, "[MODEL]")->type_name("");
  add_model_options(app, o->model);
  const auto list = [&](const char* names, std::vector<int>& value, int low, const char* help) {
    app.add_option(names, value, help)
        ->delimiter(',')
        ->allow_extra_args(false)
        ->check(CLI::Range(low, 1 << 20))
        ->capture_default_str();
  };
  list("-p,--n-prompt", o->prompts, 0, "lengths of prompts; 0: none");
  list("-n,--n-gen", o->decodes, 0, "tokens to generate; 0: none");
  list("-d,--n-depth", o->depths, 0, "tokens already in the context");
  list("-B,--batches", o->batches, 1, "sequences at once");
  app.add_option("-r,--repetitions", o->repetitions, "runs of each row")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_flag("--profile", o->profile, "time, bytes and multiply-adds of every operator");
  app.add_flag("--json", o->json, "one JSON document");
  add_engine_options(app, o->engine);
  return [o] { return bench(*o); };
}

}  // namespace serval
