// serval doctor: what this machine offers, what the program makes of it, and what could be better.
#include <fmt/format.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <boost/version.hpp>
#include <filesystem>
#include <memory>
#include <utility>
#include <vector>

#include "apps/command.h"
#include "apps/environment.h"
#include "apps/json_text.h"
#include "apps/machine_findings.h"
#include "apps/options.h"
#include "apps/terminal.h"
#include "backend/backend.h"
#include "backend/cpu/probe.h"
#include "store/catalogue.h"
#include "store/model_folder.h"
#include "store/pull.h"

namespace serval {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

Finding kernels(int threads) {
  BackendOptions options;
  options.threads = threads;
  options.isa = forced_isa();
  const std::unique_ptr<Backend> backend = create_backend("cpu", options);
  const BackendInfo& info = backend->info();
  return {"kernels",
          fmt::format("{}, {} threads, numerics {}", info.kernels, info.threads, info.numerics_id),
          info.kernels == "portable" ? "portable kernels are many times slower" : ""};
}

Finding bandwidth(MachineProbe& probe) {
  return {"read bandwidth", fmt::format("{:.1f} GB/s", probe.read_bandwidth()), ""};
}
// By the weights that a model may have: it is rated by the kind that it needs.
Finding dot_rate(MachineProbe& probe) {
  return {"dot products",
          fmt::format("quantised {:.0f}, BF16 {:.0f}, F16 and F32 {:.0f} GMAC/s",
                      probe.dot_peak(DotKind::kInt8), probe.dot_peak(DotKind::kBf16),
                      probe.dot_peak(DotKind::kFloat)),
          ""};
}

Finding model_folder() {
  const std::string root = model_root();
  fs::path existing = root;
  std::error_code error;
  while (!fs::exists(existing, error) && existing.has_parent_path() &&
         existing != existing.parent_path()) {
    existing = existing.parent_path();
  }
  struct statvfs status = {};
  uint64_t free = 0;
  if (::statvfs(existing.c_str(), &status) == 0) {
    free = static_cast<uint64_t>(status.f_bavail) * status.f_frsize;
  }
  std::string advice;
  if (::access(existing.c_str(), W_OK | X_OK) != 0) {
    advice = existing.string() + " cannot be written; set SERVAL_HOME to a folder you own";
  } else if (free < (uint64_t{1} << 30)) {
    advice = "less than 1 GB is free; set SERVAL_HOME to a larger disk";
  }
  const size_t count = ModelFolder(root).list().size();
  return {"model folder", fmt::format("{}, {} models, {} free", root, count, format_bytes(free)),
          advice};
}

Finding default_model() {
  const bool present = ModelFolder(model_root()).find(kDefaultModel).has_value();
  return {"default model",
          fmt::format("{} {}", kDefaultModel, present ? "installed" : "not installed"),
          present ? "" : "`serval pull` fetches it"};
}

Finding libraries() {
  return {
      "libraries",
      fmt::format("{}, Boost {}.{}.{}, fmt {}.{}.{}, CLI11 " CLI11_VERSION, transfer_libraries(),
                  BOOST_VERSION / 100000, BOOST_VERSION / 100 % 1000, BOOST_VERSION % 100,
                  FMT_VERSION / 10000, FMT_VERSION / 100 % 100, FMT_VERSION % 100),
      ""};
}

int doctor(int threads, bool as_json) {
  std::vector<Finding> findings = {{"serval", SERVAL_VERSION, ""}};
  for (Finding& finding : machine_findings()) findings.push_back(std::move(finding));
  MachineProbe probe(threads);
  findings.insert(findings.end(), {kernels(threads), bandwidth(probe), dot_rate(probe),
                                   model_folder(), default_model(), libraries()});
  if (as_json) {
    json::array rows;
    for (const Finding& f : findings) {
      rows.push_back(json::object{{"name", f.name},
                                  {"status", f.advice.empty() ? "ok" : "warn"},
                                  {"value", f.value},
                                  {"advice", f.advice}});
    }
    print(pretty_json(rows) + "\n");
    return kExitDone;
  }
  const Palette& c = stdout_palette();
  for (const Finding& f : findings) {
    const bool ok = f.advice.empty();
    print(fmt::format("{}{:<5}{}{:<16}{}\n", ok ? c.green : c.yellow, ok ? "ok" : "warn", c.reset,
                      f.name, terminal_safe(f.value)));
    if (!ok) print(fmt::format("     {:<16}{}\n", "", terminal_safe(f.advice)));
  }
  return kExitDone;
}

}  // namespace

Action define_doctor(CLI::App& app) {
  const auto threads = std::make_shared<int>(0);
  const auto as_json = std::make_shared<bool>(false);
  app.add_option("-t,--threads", *threads, "default: all usable cores")->check(CLI::Range(0, 4096));
  app.add_flag("--json", *as_json, "findings as JSON");
  return [threads, as_json] { return doctor(*threads, *as_json); };
}

}  // namespace serval
