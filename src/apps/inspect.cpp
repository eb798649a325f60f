// serval inspect: what a model file holds, and with --plan what running it will take. Works on
// files with a vocabulary only and on architectures that cannot run yet, except for the plan.
#include <fmt/format.h>

#include <boost/json.hpp>
#include <map>
#include <memory>

#include "apps/command.h"
#include "apps/json_text.h"
#include "apps/memory_plan.h"
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
    if (options.plan)
      out["plan"] = memory_plan_json(make_memory_plan(*file, options.engine, program_bytes));
    print(pretty_json(out) + "\n");
    return kExitDone;
  }
  print_file(*file, options);
  if (options.plan) print_memory_plan(make_memory_plan(*file, options.engine, program_bytes));
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
