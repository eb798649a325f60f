// serval rm: removes installed models.
#include <fmt/format.h>

#include <boost/json.hpp>
#include <memory>

#include "apps/command.h"
#include "apps/environment.h"
#include "apps/json_text.h"
#include "apps/options.h"
#include "apps/terminal.h"
#include "store/catalogue.h"
#include "store/model_folder.h"

namespace serval {
namespace {

struct RmOptions {
  std::vector<std::string> names;
  bool json = false;
};

int rm(const RmOptions& options) {
  const ModelFolder folder(model_root());
  boost::json::array rows;
  for (const std::string& name : options.names) {
    const CatalogueEntry* entry = find_in_catalogue(name);
    const std::string id = entry != nullptr ? std::string(entry->name) : name;
    const uint64_t freed = folder.remove(id);
    rows.push_back(boost::json::object{{"id", id}, {"freed_bytes", freed}});
    if (!options.json) print(fmt::format("{}: removed, {} freed\n", id, format_bytes(freed)));
  }
  if (options.json) print(pretty_json(rows) + "\n");
  return kExitDone;
}

}  // namespace

Action define_rm(CLI::App& app) {
  const auto o = std::make_shared<RmOptions>();
  app.add_option("names", o->names, "names as `serval list` shows them")->required();
  app.add_flag("--json", o->json, "rows as JSON");
  return [o] { return rm(*o); };
}

}  // namespace serval
