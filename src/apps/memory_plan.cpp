// Weights, state and workspace come from the recording backend, which walks the model's own forward
// pass; the vocabulary from the file; the rest is measured.
#include "apps/memory_plan.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <fstream>

#include "apps/model_argument.h"
#include "apps/terminal.h"
#include "text/vocab.h"

namespace serval {
namespace {

namespace json = boost::json;

// What a running engine adds to the program itself: queues, sampler tables, the prompt, stacks,
// and the rounding of buffers to huge pages. Measured.
constexpr uint64_t kEngineBytes = 4'000'000;

}  // namespace

// proc(5), statm.
uint64_t resident_bytes() {
  uint64_t all = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> all >> resident;
  return resident * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

MemoryPlan make_memory_plan(GgufFile& file, const EngineOptions& options, uint64_t program_bytes) {
  MemoryPlan plan;
  const Architecture& architecture = find_architecture(file);
  const ModelConfig config = architecture.read_config(file);
  plan.limits.rows = options.batch;
  plan.limits.spans = std::max(options.parallel, 1);
  plan.limits.logit_rows = std::max(plan.limits.spans, 1);
  plan.limits.context = options.context > 0 ? options.context : config.context_length;
  const KvType kv = options.kv_type == "f32"    ? KvType::kF32
                    : options.kv_type == "q8_0" ? KvType::kQ8_0
                                                : KvType::kF16;
  const BackendRow& backend = find_backend(options.backend);
  const BackendInfo target = create_backend(backend.name, {options.threads, ""})->info();
  plan.model = plan_model(file, plan.limits, kv, target, backend.scratch_bytes);
  const uint64_t blocks =
      static_cast<uint64_t>((plan.limits.context + kBlockTokens - 1) / kBlockTokens) *
      static_cast<uint64_t>(plan.limits.spans);
  plan.kv_tokens = blocks * kBlockTokens;
  plan.kv_bytes = blocks * plan.model.kv_block_bytes;
  plan.text_bytes = planned_text_bytes(file);
  plan.program_bytes = program_bytes + kEngineBytes;
  plan.total_bytes = plan.model.weight_bytes + plan.kv_bytes + plan.model.workspace_bytes +
                     plan.text_bytes + plan.program_bytes;
  return plan;
}

json::object memory_plan_json(const MemoryPlan& plan) {
  json::array rows;
  for (const PlanRow& row : plan.model.rows) {
    rows.push_back(json::object{{"layer", row.layer},
                                {"verb", row.verb},
                                {"what", row.what},
                                {"kernel", row.kernel},
                                {"weight_bytes", row.weight_bytes},
                                {"macs", row.macs}});
  }
  return {{"context", plan.limits.context},
          {"sequences", plan.limits.spans},
          {"batch_tokens", plan.limits.rows},
          {"weight_bytes", plan.model.weight_bytes},
          {"step_weight_bytes", plan.model.step_weight_bytes},
          {"kv_bytes_per_token", plan.model.kv_bytes_per_token},
          {"kv_tokens", plan.kv_tokens},
          {"kv_bytes", plan.kv_bytes},
          {"workspace_bytes", plan.model.workspace_bytes},
          {"text_bytes", plan.text_bytes},
          {"program_bytes", plan.program_bytes},
          {"total_bytes", plan.total_bytes},
          {"macs_per_token", plan.model.macs_per_token},
          {"head_macs", plan.model.head_macs},
          {"rows", std::move(rows)}};
}

void print_memory_plan(const MemoryPlan& plan) {
  std::string text = fmt::format("\n{:<10} {:<14} {:<44} {:<14} {:>9} {:>9}\n", "layer", "verb",
                                 "what", "kernel", "bytes", "MMAC");
  for (const PlanRow& row : plan.model.rows) {
    text += fmt::format("{:<10} {:<14} {:<44} {:<14} {:>9} {:>9.2f}\n", row.layer, row.verb,
                        row.what, row.kernel, format_bytes(row.weight_bytes),
                        static_cast<double>(row.macs) / 1e6);
  }
  text += fmt::format(
      "\nmemory for {} sequence(s) of {} tokens, {} tokens a step\n"
      "  weights    {:>9}\n  KV         {:>9}  ({} a token)\n  workspace  {:>9}\n  vocabulary "
      "{:>9}\n"
      "  program    {:>9}\n  in all     {:>9}\n"
      "one decode step reads {} of weights and computes {:.1f} million MACs\n",
      plan.limits.spans, plan.limits.context, plan.limits.rows,
      format_bytes(plan.model.weight_bytes), format_bytes(plan.kv_bytes),
      format_bytes(plan.model.kv_bytes_per_token), format_bytes(plan.model.workspace_bytes),
      format_bytes(plan.text_bytes), format_bytes(plan.program_bytes),
      format_bytes(plan.total_bytes), format_bytes(plan.model.step_weight_bytes),
      static_cast<double>(plan.model.macs_per_token + plan.model.head_macs) / 1e6);
  print(text);
}

}  // namespace serval
