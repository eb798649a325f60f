// serval bench: prompt speed, decode speed at depth, decode speed of a batch, through the same
// engine that everything else uses, beside what the machine can do, measured in this process right
// before and after every repetition.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <memory>
#include <utility>
#include <vector>

#include "apps/command.h"
#include "apps/generation.h"
#include "apps/interrupt.h"
#include "apps/json_text.h"
#include "apps/model_argument.h"
#include "apps/options.h"
#include "apps/profile.h"
#include "apps/speed_limits.h"
#include "apps/speed_rows.h"
#include "apps/speed_runs.h"
#include "apps/terminal.h"
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
      : options_(std::move(options)), path_(std::move(path)), probe_(options_.engine.threads) {}

  int run() {
    rows_ = planned_rows(options_);
    if (rows_.empty()) throw UsageError("nothing to measure: -p and -n are both 0");
    read_plan();
    const CpuSeconds begin = cpu_seconds();
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
    steal_percent_ = stolen_percent(begin, cpu_seconds());
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
    kind_ = dot_kind(planned_operators(plan_));
    with_float_ = options_.profile && kv != KvType::kQ8_0;
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
    // The first run warms caches, and computes the KV that later runs at depth find again.
    timed(engine, row, 0);
    const Profile before = engine.work();
    MachineLimits limits = probe_.measure(kind_, with_float_);
    for (int i = 0; i < options_.repetitions; ++i) {
      Repetition& repetition = row.repetitions.emplace_back();
      repetition.before = limits;
      const CpuSeconds begin = cpu_seconds();
      repetition.tokens_per_second = timed(engine, row, i + 1);
      repetition.others_percent = others_percent(begin, cpu_seconds());
      repetition.after = limits = probe_.measure(kind_, with_float_);
    }
    profiles_.push_back(work_between(before, engine.work()));
    figures_.push_back(figures(row, plan_, options_.engine.batch));
    if (options_.json) return;
    print(table_line(row, figures_.back()));
    if (options_.profile) print(profile_table(profiles_.back(), figures_.back().limits));
  }

  static double timed(Engine& engine, const SpeedRow& row, int run) {
    return row.decode ? decode_rate(engine, row)
                      : prompt_rate(engine, row.tokens, 1000 + static_cast<uint64_t>(run));
  }

  // The lowest and the highest of each limit over the whole run.
  std::pair<MachineLimits, MachineLimits> range() const {
    MachineLimits low = rows_.front().repetitions.front().before;
    MachineLimits high = low;
    for (const SpeedRow& row : rows_) {
      for (const Repetition& one : row.repetitions) {
        low = lower_of(low, lower_of(one.before, one.after));
        high = higher_of(high, higher_of(one.before, one.after));
      }
    }
    return {low, high};
  }

  void report() const {
    const auto [low, high] = range();
    if (!options_.json) {
      const bool unsteady = std::any_of(figures_.begin(), figures_.end(),
                                        [](const auto& f) { return f.unsteady > 0; });
      if (unsteady) {
        print(
            fmt::format("unsteady: a limit just before and just after differ by more than {:.0f} %"
                        "; not in the share if the row has others\n",
                        100 * kSteadyWithin));
      }
      print(
          fmt::format("machine  read {:.1f} - {:.1f} GB/s, {} dot products {:.0f} - {:.0f} GMAC/s "
                      "during the run; {:.1f} % stolen\nlogits   {}\n",
                      low.gbytes_per_second, high.gbytes_per_second, name_of(kind_),
                      low.gmacs_per_second, high.gmacs_per_second, steal_percent_, digest_));
      return;
    }
    json::array rows;
    for (size_t i = 0; i < rows_.size(); ++i) {
      json::object row = row_json(rows_[i], figures_[i]);
      if (options_.profile) row["profile"] = profile_json(profiles_[i], figures_[i].limits);
      rows.push_back(std::move(row));
    }
    json::object out;
    out["model"] = {{"name", info_.name},
                    {"architecture", info_.architecture},
                    {"parameters", info_.parameters},
                    {"file_bytes", info_.file_bytes},
                    {"step_weight_bytes", plan_.step_weight_bytes},
                    {"macs_per_token", plan_.macs_per_token + plan_.head_macs}};
    out["machine"] = {{"threads", info_.threads},       {"backend", info_.backend},
                      {"kernels", info_.kernels},       {"dot_products", name_of(kind_)},
                      {"lowest", limits_json(low)},     {"highest", limits_json(high)},
                      {"steal_percent", steal_percent_}};
    out["load_ms"] = info_.load_ms;
    out["rows"] = std::move(rows);
    out["logits_digest"] = digest_;
    print(pretty_json(out) + "\n");
  }

  BenchOptions options_;
  std::string path_, digest_;
  LimitsProbe probe_;
  std::vector<SpeedRow> rows_;
  std::vector<SpeedFigures> figures_;  // of the rows
  std::vector<Profile> profiles_;
  ModelPlan plan_;
  ModelInfo info_;
  DotKind kind_ = DotKind::kInt8;
  bool with_float_ = false;
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
