#include "apps/model_argument.h"

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <iostream>
#include <system_error>

#include "apps/command.h"
#include "apps/environment.h"
#include "apps/interrupt.h"
#include "apps/terminal.h"
#include "base/sha256.h"
#include "store/catalogue.h"
#include "store/model_folder.h"
#include "store/pull.h"
#include "store/source.h"

namespace serval {
namespace {

namespace fs = std::filesystem;

bool exists(const std::string& path) {
  std::error_code error;
  return path.size() < 4096 && fs::exists(path, error);
}

bool allows_loopback() { return hub_address().starts_with("http://"); }

std::vector<std::string> known_names() {
  std::vector<std::string> names;
  for (const CatalogueEntry& entry : catalogue()) {
    names.emplace_back(entry.name.substr(0, entry.name.find(':')));
    names.emplace_back(entry.name);
  }
  for (const InstalledModel& model : ModelFolder(model_root()).list()) names.push_back(model.id);
  return names;
}

// An id for an address: the name of its file, made longer while another source has it.
std::string free_id(const ModelFolder& folder, const std::string& source) {
  const std::string base = suggest_id(parse_source(source, allows_loopback()).value());
  std::string id = base;
  for (int i = 2;; ++i) {
    const auto taken = folder.find(id);
    if (!find_in_catalogue(id) && (!taken || taken->source == source)) return id;
    id = fmt::format("{}-{}", base, i);
  }
}

bool confirmed(const std::string& question) {
  notice(question + " [Y/n] ");
  std::string answer;
  if (!std::getline(std::cin, answer)) return false;
  return answer.empty() || answer[0] == 'y' || answer[0] == 'Y';
}

std::string offer(const std::string& name, const CatalogueEntry* entry,
                  const ModelOptions& options) {
  if (options.offline) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("{}: is not installed, and --offline forbids fetching it", name));
  }
  const bool pinned = entry != nullptr && !entry->sha256.empty();
  if (stdin_is_terminal() && stderr_is_terminal() && !options.yes) {
    const std::string size =
        entry != nullptr && entry->bytes > 0 ? " (" + format_bytes(entry->bytes) + ")" : "";
    if (!confirmed(fmt::format("{} is not installed; download it{}?", name, size))) {
      throw Error(ErrorCode::kNotFound, name + ": is not installed");
    }
  } else if (!pinned) {
    throw Error(
        ErrorCode::kNotFound,
        fmt::format("{}: is not installed and its checksum is not known in advance; fetch it "
                    "with `serval pull {}`",
                    name, name));
  }
  return pull_model(name, {});
}

}  // namespace

bool names_model(const std::string& text) {
  if (looks_like_source(text) || find_in_catalogue(text) != nullptr || has_catalogue_family(text)) {
    return true;
  }
  if (text.ends_with(".gguf") || exists(text)) return !text.empty();
  return is_model_id(text) && ModelFolder(model_root()).find(text).has_value();
}

std::string pull_model(const std::string& text, const PullOptions& options) {
  const ModelFolder folder(model_root());
  PullRequest request;
  if (looks_like_source(text)) {
    const auto source = parse_source(text, allows_loopback());
    if (!source) throw UsageError(source.error().message());
    request.sources = {text};
    for (const std::string& part : options.more_parts) {
      const auto parsed = parse_source(part, allows_loopback());
      if (!parsed) throw UsageError(parsed.error().message());
      request.sources.push_back(part);
    }
    request.id = free_id(folder, text);
  } else if (const CatalogueEntry* entry = find_in_catalogue(text)) {
    request = request_for(*entry);
  } else {
    const std::string near = nearest_name(text, known_names());
    throw UsageError(fmt::format("{}: is not in the catalogue{}; `serval list --all` shows it",
                                 terminal_safe(text),
                                 near.empty() ? "" : "; did you mean " + near + "?"));
  }
  if (!options.sha256.empty()) {
    if (!is_sha256(options.sha256)) throw UsageError("--sha256 takes 64 hexadecimal digits");
    request.sha256 = options.sha256;
  }
  if (!options.id.empty()) {
    if (!is_model_id(options.id))
      throw UsageError("--as takes a name of the characters a-z 0-9 . _ : -");
    request.id = options.id;
  }
  if (request.sha256.empty()) {
    notice(
        fmt::format("{}: no checksum is known in advance; what arrives is checked against what the "
                    "server states, if it does",
                    request.id));
  }
  const InterruptScope scope;
  ProgressBar bar(request.id);
  PullEnvironment environment;
  environment.hub = hub_address();
  environment.uses_proxy = uses_proxy();
  environment.cancelled = [] { return interrupted(); };
  environment.notice = [](const std::string& line) { notice(line); };
  environment.progress = [&](const PullProgress& p) {
    bar.relabel(p.stage == "downloading" ? request.id : request.id + ", " + p.stage);
    bar.update(p.done, p.total);
  };
  try {
    const InstalledModel model = pull(folder, request, environment);
    bar.wipe();
    notice(fmt::format("{}: {} installed, sha256 {}", model.id, format_bytes(model.bytes),
                       model.sha256.substr(0, 16)));
    return model.path;
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kCancelled) throw;
    throw Error(ErrorCode::kCancelled,
                request.id + ": interrupted; the same command goes on where this one stopped");
  }
}

std::string resolve_model(const std::string& text, const ModelOptions& options) {
  const std::string name = text.empty() ? std::string(kDefaultModel) : text;
  const ModelFolder folder(model_root());
  if (looks_like_source(name)) {
    const auto source = parse_source(name, allows_loopback());
    if (!source) throw UsageError(source.error().message());
    for (const InstalledModel& model : folder.list()) {
      if (model.source == name) return model.path;
    }
    return offer(name, nullptr, options);
  }
  if (exists(name)) {
    std::error_code error;
    if (fs::is_directory(name, error)) {
      throw Error(ErrorCode::kInvalidArgument,
                  name + ": is a directory; name the GGUF file inside it");
    }
    return name;
  }
  const CatalogueEntry* entry = find_in_catalogue(name);
  const std::string id = entry != nullptr ? std::string(entry->name) : name;
  if (const auto model = folder.find(id)) return model->path;
  if (entry != nullptr) return offer(id, entry, options);
  const std::string near = nearest_name(name, known_names());
  throw Error(ErrorCode::kNotFound,
              fmt::format("{}: no such file and no model of that name{}; `serval list --all` shows "
                          "the names",
                          terminal_safe(name), near.empty() ? "" : "; did you mean " + near + "?"));
}

ModelAndText split_positionals(const std::string& model_option,
                               const std::vector<std::string>& positionals) {
  const size_t allowed = model_option.empty() ? 2 : 1;
  if (positionals.size() > allowed) {
    throw UsageError("unexpected argument \"" + terminal_safe(positionals[allowed]) +
                     "\"; put quotes around a prompt of several words");
  }
  if (!model_option.empty()) {
    return {model_option, positionals.empty() ? std::string() : positionals.front()};
  }
  if (positionals.size() == 2) return {positionals[0], positionals[1]};
  if (positionals.empty()) return {};
  return names_model(positionals[0]) ? ModelAndText{positionals[0], ""}
                                     : ModelAndText{"", positionals[0]};
}

}  // namespace serval
