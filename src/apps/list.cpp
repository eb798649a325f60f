// serval list: installed models, and with --all the catalogue.
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

namespace json = boost::json;

struct ListOptions {
  bool all = false, json = false;
};

json::object row_json(const InstalledModel& model) {
  return {{"id", model.id},         {"installed", true},      {"path", model.path},
          {"bytes", model.bytes},   {"sha256", model.sha256}, {"source", model.source},
          {"pinned", model.pinned}, {"date", model.date}};
}

int list(const ListOptions& options) {
  const ModelFolder folder(model_root());
  const std::vector<InstalledModel> installed = folder.list();
  json::array rows;
  std::string text;
  for (const InstalledModel& model : installed) {
    rows.push_back(row_json(model));
    text += fmt::format("{:<28}{:>9}  {:<10}  {}\n", model.id, format_bytes(model.bytes),
                        model.date.substr(0, 10), model.source);
  }
  for (const std::string& id : folder.unfinished()) {
    if (!folder.find(id))
      text += fmt::format("{:<28}{:>9}  pull it again to go on\n", id, "unfinished");
  }
  if (options.all) {
    for (const CatalogueEntry& entry : catalogue()) {
      if (folder.find(entry.name)) continue;
      rows.push_back(json::object{{"id", entry.name},
                                  {"installed", false},
                                  {"bytes", entry.bytes},
                                  {"sha256", entry.sha256},
                                  {"source", entry.sources.front()},
                                  {"licence", entry.licence}});
      text += fmt::format("{:<28}{:>9}  not here     {}; {}\n", entry.name,
                          entry.bytes > 0 ? format_bytes(entry.bytes) : "", entry.summary,
                          entry.licence);
    }
  }
  if (options.json) {
    print(pretty_json(rows) + "\n");
  } else if (text.empty()) {
    notice("no models in " + folder.root() + "; `serval pull` fetches the default one");
  } else {
    print(text);
  }
  return kExitDone;
}

}  // namespace

Action define_list(CLI::App& app) {
  const auto o = std::make_shared<ListOptions>();
  app.add_flag("-a,--all", o->all, "also the models of the catalogue that are not installed");
  app.add_flag("--json", o->json, "rows as JSON");
  return [o] { return list(*o); };
}

}  // namespace serval
