// serval inspect: what a model file holds, and with --plan what running it will take. Works on
// files with a vocabulary only and on architectures that cannot run yet, except for the plan.
#include <fmt/format.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <fstream>
#include <map>
#include <memory>

#include "apps/command.h"
#include "apps/json_text.h"
#include "apps/model_argument.h"
#include "apps/options.h"
#include "apps/terminal.h"
#include "base/utf8.h"
#include "format/gguf.h"
#include "model/model.h"
#include "text/vocab.h"

namespace serval {
namespace {

namespace json = boost::json;

constexpr size_t kShownItems = 8;   // of an array, on the terminal
constexpr size_t kShownText = 120;  // bytes of a string, on the terminal

struct InspectOptions {
  ModelOptions model;
  EngineOptions engine;
  std::vector<std::string> positionals;
  bool tensors = false, plan = false, chat_template = false, json = false;
};

std::string type_name(const GgufTensor& tensor) {
  return tensor.supported ? std::string(info(tensor.ref.dtype).name)
                          : fmt::format("type {}", tensor.gguf_type);
}

std::string shape(const GgufTensor& tensor) {
  std::string text;
  for (const uint64_t n : tensor.ne) text += (text.empty() ? "" : " x ") + std::to_string(n);
  return text;
}

json::value scalar_json(const GgufValue& value) {
  switch (value.type) {
    case GgufType::kString:
      return json::value(replace_invalid_utf8(value.s));
    case GgufType::kBool:
      return value.u != 0;
    case GgufType::kFloat32:
    case GgufType::kFloat64:
      return value.f;
    case GgufType::kInt8:
    case GgufType::kInt16:
    case GgufType::kInt32:
    case GgufType::kInt64:
      return value.i;
    default:
      return value.u;
  }
}

// Element i of an array value, whichever list holds it.
json::value element_json(const GgufValue& value, size_t i) {
  if (value.element == GgufType::kString)
    return json::value(replace_invalid_utf8(value.strings[i]));
  if (i < value.floats.size()) return value.floats[i];
  if (value.element == GgufType::kBool) return value.ints[i] != 0;
  return value.ints[i];
}

json::value value_json(const GgufValue& value) {
  if (value.type != GgufType::kArray) return scalar_json(value);
  json::array array;
  for (size_t i = 0; i < value.array_size(); ++i) array.push_back(element_json(value, i));
  return array;
}

std::string shortened(std::string text) {
  if (text.size() > kShownText) {
    text = replace_invalid_utf8(text.substr(0, kShownText)) +
           fmt::format("... ({} bytes)", text.size());
  }
  std::string out = terminal_safe(text);
  for (size_t at = 0; (at = out.find('\n', at)) != std::string::npos; at += 2)
    out.replace(at, 1, "\\n");
  return out;
}

std::string shown(const GgufValue& value) {
  if (value.type == GgufType::kString) return shortened(value.s);
  if (value.type != GgufType::kArray) return compact_json(scalar_json(value));
  const size_t size = value.array_size();
  json::array head;
  for (size_t i = 0; i < std::min(size, kShownItems); ++i) head.push_back(element_json(value, i));
  std::string text = compact_json(head);
  if (size > kShownItems) text.insert(text.size() - 1, fmt::format(", ... {} in all", size));
  return terminal_safe(text);
}

uint64_t elements(const GgufTensor& tensor) {
  uint64_t count = 1;
  for (const uint64_t n : tensor.ne) count *= n;  // the reader has proven that this fits
  return count;
}

// "Q4_1 60 %, Q8_0 40 %" by bytes, and what cannot be decoded by number.
std::map<std::string, uint64_t> bytes_by_type(const GgufFile& file) {
  std::map<std::string, uint64_t> bytes;
  for (const GgufTensor& t : file.tensors()) bytes[type_name(t)] += t.supported ? t.ref.bytes() : 0;
  return bytes;
}

bool is_supported(const GgufFile& file) {
  const auto architecture = file.get_string("general.architecture");
  for (const Architecture& known : architectures()) {
    if (architecture && *architecture == known.name) return true;
  }
  return false;
}

// What a running engine adds to the program itself: queues, sampler tables, the prompt, stacks,
// and the rounding of buffers to huge pages. Measured.
constexpr uint64_t kEngineBytes = 4'000'000;

// Memory of this process now: proc(5), statm.
uint64_t resident_bytes() {
  uint64_t all = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> all >> resident;
  return resident * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

struct Plan {
  ModelPlan model;
  StepLimits limits;
  uint64_t kv_tokens = 0, kv_bytes = 0, text_bytes = 0, program_bytes = 0, total_bytes = 0;
};

// `program_bytes`: of this process before it opened the model.
Plan make_plan(GgufFile& file, const InspectOptions& options, uint64_t program_bytes) {
  Plan plan;
  const Architecture& architecture = find_architecture(file);
  const ModelConfig config = architecture.read_config(file);
  plan.limits.rows = options.engine.batch;
  plan.limits.spans = std::max(options.engine.parallel, 1);
  plan.limits.logit_rows = std::max(plan.limits.spans, 1);
  plan.limits.context = options.engine.context > 0 ? options.engine.context : config.context_length;
  const KvType kv = options.engine.kv_type == "f32"    ? KvType::kF32
                    : options.engine.kv_type == "q8_0" ? KvType::kQ8_0
                                                       : KvType::kF16;
  const BackendRow& backend = find_backend(options.engine.backend);
  const BackendInfo target = create_backend(backend.name, {options.engine.threads, ""})->info();
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

json::object plan_json(const Plan& plan) {
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

void print_plan(const Plan& plan) {
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

json::object file_json(const GgufFile& file, const InspectOptions& options) {
  json::object metadata;
  for (const GgufFile::Entry& entry : file.metadata()) {
    metadata[replace_invalid_utf8(entry.key)] = value_json(entry.value);
  }
  json::object types;
  for (const auto& [name, bytes] : bytes_by_type(file)) types[name] = bytes;
  uint64_t parameters = 0;
  for (const GgufTensor& tensor : file.tensors()) parameters += elements(tensor);
  json::object out;
  out["path"] = file.path();
  out["gguf_version"] = file.version();
  out["file_bytes"] = file.file_bytes();
  out["architecture"] = replace_invalid_utf8(file.get_string("general.architecture").value_or(""));
  out["supported"] = is_supported(file);
  out["parameters"] = parameters;
  out["tensor_count"] = file.tensors().size();
  out["bytes_by_type"] = std::move(types);
  out["metadata"] = std::move(metadata);
  if (options.tensors) {
    json::array rows;
    for (const GgufTensor& t : file.tensors()) {
      rows.push_back(json::object{{"name", replace_invalid_utf8(t.ref.name)},
                                  {"type", type_name(t)},
                                  {"shape", json::array(t.ne.begin(), t.ne.end())},
                                  {"offset", t.offset},
                                  {"shard", t.shard},
                                  {"bytes", t.supported ? t.ref.bytes() : 0}});
    }
    out["tensors"] = std::move(rows);
  }
  return out;
}

void print_file(const GgufFile& file, const InspectOptions& options) {
  const Palette& colours = stdout_palette();
  const std::string architecture = file.get_string("general.architecture").value_or("not stated");
  uint64_t parameters = 0;
  for (const GgufTensor& tensor : file.tensors()) parameters += elements(tensor);
  std::string text = fmt::format(
      "{}{}{}\nGGUF v{}, {}, architecture {}{}, {:.1f} million parameters in {} tensors\n",
      colours.bold, terminal_safe(file.path()), colours.reset, file.version(),
      format_bytes(file.file_bytes()), terminal_safe(architecture),
      is_supported(file) ? "" : " (cannot run here yet)", static_cast<double>(parameters) / 1e6,
      file.tensors().size());
  std::string types;
  for (const auto& [name, bytes] : bytes_by_type(file)) {
    types += fmt::format("{}{} {}", types.empty() ? "" : ", ", name, format_bytes(bytes));
  }
  text += types + "\n\n";
  for (const GgufFile::Entry& entry : file.metadata()) {
    text += fmt::format("{:<44} {:<8} {}\n", terminal_safe(entry.key), name(entry.value.type),
                        shown(entry.value));
  }
  if (options.tensors) {
    text += fmt::format("\n{:<44} {:<8} {:>10}  shape\n", "tensor", "type", "bytes");
    for (const GgufTensor& t : file.tensors()) {
      text += fmt::format("{:<44} {:<8} {:>10}  {}\n", terminal_safe(t.ref.name), type_name(t),
                          t.supported ? format_bytes(t.ref.bytes()) : "?", shape(t));
    }
  }
  print(text);
}

int inspect(const InspectOptions& options) {
  const uint64_t program_bytes = resident_bytes();
  if (options.positionals.size() > 1) throw UsageError("inspect takes one MODEL");
  const std::string name =
      options.positionals.empty() ? options.model.model : options.positionals.front();
  const std::unique_ptr<GgufFile> file = GgufFile::open(resolve_model(name, options.model));
  if (options.chat_template) {
    const auto source = file->get_string("tokenizer.chat_template");
    if (!source) {
      throw Error(ErrorCode::kNotFound,
                  file->path() + ": has no chat template; `serval run` completes raw");
    }
    print(options.json
              ? pretty_json(json::object{{"template", replace_invalid_utf8(*source)}}) + "\n"
              : *source + (source->ends_with('\n') ? "" : "\n"));
    return kExitDone;
  }
  if (options.json) {
    json::object out = file_json(*file, options);
    if (options.plan) out["plan"] = plan_json(make_plan(*file, options, program_bytes));
    print(pretty_json(out) + "\n");
    return kExitDone;
  }
  print_file(*file, options);
  if (options.plan) print_plan(make_plan(*file, options, program_bytes));
  return kExitDone;
}

}  // namespace

Action define_inspect(CLI::App& app) {
  const auto o = std::make_shared<InspectOptions>();
  app.add_option("arguments", o->positionals, "[MODEL]")->type_name("");
  add_model_options(app, o->model);
  app.add_flag("--tensors", o->tensors, "also every tensor");
  app.add_flag("--plan", o->plan, "what runs where, and the memory it takes");
  app.add_flag("--template", o->chat_template, "only the chat template");
  app.add_flag("--json", o->json, "one JSON document");
  add_engine_options(app, o->engine);
  return [o] { return inspect(*o); };
}

}  // namespace serval
