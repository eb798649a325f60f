// serval quantize: rewrites a model's matrices in another storage type.
#include "convert/quantize.h"

#include <fmt/format.h>

#include <boost/json.hpp>
#include <filesystem>
#include <memory>
#include <system_error>
#include <thread>

#include "apps/command.h"
#include "apps/interrupt.h"
#include "apps/json_text.h"
#include "apps/options.h"
#include "apps/terminal.h"
#include "tensor/quant/list.h"

namespace serval {
namespace {

struct QuantizeCommand {
  std::string in, out, type;
  int threads = 0;
  bool json = false, force = false;
};

std::string writable_types() {
  std::string names;
  for (const DTypeInfo& row : dtypes()) {
    if (can_quantize(row.type)) names += fmt::format("{}{}", names.empty() ? "" : ", ", row.name);
  }
  return names;
}

int quantize(const QuantizeCommand& command) {
  const auto target = dtype_from_name(command.type);
  if (!target || !can_quantize(*target)) {
    throw UsageError(fmt::format("\"{}\" is not a type this program can write; it writes {}",
                                 terminal_safe(command.type), writable_types()));
  }
  std::error_code ignored;
  if (!command.force && std::filesystem::exists(command.out, ignored)) {
    throw Error(ErrorCode::kInvalidArgument,
                command.out + ": exists already; choose another name, or replace it with --force");
  }
  ProgressBar bar("quantizing");
  const InterruptScope scope;
  QuantizeOptions options;
  options.target = *target;
  options.threads = command.threads > 0
                        ? command.threads
                        : static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  options.progress = [&](const QuantizeProgress& p) {
    bar.update(p.bytes_done, p.bytes_total);
    if (interrupted())
      throw Error(ErrorCode::kCancelled, command.out + ": interrupted, nothing was written");
  };
  const QuantizeReport report = quantize_file(command.in, command.out, options);
  bar.wipe();
  if (report.from_quantized > 0) {
    notice(fmt::format(
        "{} matrices were already quantised: converting them again loses precision twice; "
        "start from an F16 or BF16 file where there is one",
        report.from_quantized));
  }
  if (command.json) {
    print(pretty_json(boost::json::object{{"in", command.in},
                                          {"out", command.out},
                                          {"type", info(*target).name},
                                          {"converted", report.converted},
                                          {"kept_f32", report.kept_f32},
                                          {"from_quantized", report.from_quantized},
                                          {"as_f16", boost::json::value_from(report.as_f16)},
                                          {"bytes_in", report.bytes_in},
                                          {"bytes_out", report.bytes_out}}) +
          "\n");
    return kExitDone;
  }
  print(fmt::format("{}: {} matrices as {}, {} tensors as F32, {} -> {}\n", command.out,
                    report.converted, info(*target).name, report.kept_f32,
                    format_bytes(report.bytes_in), format_bytes(report.bytes_out)));
  for (const std::string& name : report.as_f16) {
    print(fmt::format("  {}: stored as F16, its rows do not fit {} blocks\n", terminal_safe(name),
                      info(*target).name));
  }
  return kExitDone;
}

}  // namespace

Action define_quantize(CLI::App& app) {
  const auto o = std::make_shared<QuantizeCommand>();
  app.add_option("in", o->in, "a GGUF file of any readable type")->required();
  app.add_option("out", o->out, "the file to write")->required();
  app.add_option("type", o->type, "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1 or Q8_0")->required();
  app.add_option("-t,--threads", o->threads, "default: all cores")->check(CLI::Range(0, 4096));
  app.add_flag("--force", o->force, "replace an existing output");
  app.add_flag("--json", o->json, "the report as JSON");
  return [o] { return quantize(*o); };
}

}  // namespace serval
