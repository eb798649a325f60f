// serval completion: scripts made by walking the option definitions of every command, so they
// cannot disagree with what the program accepts.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "apps/command.h"
#include "apps/environment.h"
#include "apps/options.h"
#include "apps/terminal.h"
#include "store/catalogue.h"
#include "store/model_folder.h"

namespace serval {
namespace {

struct OptionRow {
  std::vector<std::string> names;  // with their dashes
  std::string help;
  bool takes_value = false;
};
struct CommandRow {
  std::string name, summary;
  std::vector<OptionRow> options;
};

std::vector<CommandRow> walk() {
  std::vector<CommandRow> rows;
  for (const Command& command : commands()) {
    CLI::App app("", std::string(command.name));
    const Action unused = command.define(app);
    add_common_options(app);
    CommandRow row{std::string(command.name), std::string(command.summary), {}};
    for (const CLI::Option* option : app.get_options()) {
      OptionRow entry;
      for (const std::string& name : option->get_snames()) entry.names.push_back("-" + name);
      for (const std::string& name : option->get_lnames()) entry.names.push_back("--" + name);
      if (entry.names.empty()) continue;  // a positional
      entry.help = option->get_description();
      entry.takes_value = option->get_items_expected_max() > 0;
      row.options.push_back(std::move(entry));
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

std::string joined(const std::vector<std::string>& words, const char* separator = " ") {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : separator) + word;
  return text;
}

// Inside single quotes of a shell.
std::string shell_quoted(std::string text) {
  for (size_t at = 0; (at = text.find('\'', at)) != std::string::npos; at += 4) {
    text.replace(at, 1, "'\\''");
  }
  return "'" + text + "'";
}

std::string bash_script(const std::vector<CommandRow>& rows) {
  std::vector<std::string> names;
  std::string cases;
  for (const CommandRow& row : rows) {
    names.push_back(row.name);
    std::vector<std::string> options;
    for (const OptionRow& option : row.options) {
      options.insert(options.end(), option.names.begin(), option.names.end());
    }
    cases += fmt::format("    {}) options={} ;;\n", row.name, shell_quoted(joined(options)));
  }
  return fmt::format(
      "# bash completion for serval; use: source <(serval completion bash)\n"
      "_serval() {{\n"
      "  local word=${{COMP_WORDS[COMP_CWORD]}} options=\"\" prefix\n"
      "  COMPREPLY=()\n"
      "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
      "    COMPREPLY=($(compgen -W {} -- \"$word\"))\n"
      "    return\n"
      "  fi\n"
      "  case ${{COMP_WORDS[1]}} in\n"
      "{}"
      "  esac\n"
      "  if [[ $word == -* ]]; then\n"
      "    COMPREPLY=($(compgen -W \"$options\" -- \"$word\"))\n"
      "    return\n"
      "  fi\n"
      "  # bash splits words at colons, which model names have\n"
      "  local words=${{COMP_LINE:0:COMP_POINT}}\n"
      "  prefix=${{words##* }}\n"
      "  COMPREPLY=($(compgen -W \"$(serval completion --models 2>/dev/null)\" -- \"$prefix\")"
      " $(compgen -f -- \"$word\"))\n"
      "  if [[ $prefix == *:* ]]; then\n"
      "    COMPREPLY=(\"${{COMPREPLY[@]#${{prefix%:*}}:}}\")\n"
      "  fi\n"
      "}}\n"
      "complete -o filenames -F _serval serval\n",
      shell_quoted(joined(names)), cases);
}

// zsh reads [ ] : and \ in a specification.
std::string zsh_help(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '[' || c == ']' || c == ':' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

std::string zsh_script(const std::vector<CommandRow>& rows) {
  std::string text =
      "#compdef serval\n"
      "# zsh completion for serval; put it in a folder of $fpath as _serval\n"
      "_serval_models() {\n"
      "  local -a names\n"
      "  names=(${(f)\"$(serval completion --models 2>/dev/null)\"})\n"
      "  compadd -a names\n"
      "  _files\n"
      "}\n"
      "_serval() {\n"
      "  local -a commands options\n"
      "  commands=(\n";
  for (const CommandRow& row : rows) {
    text += fmt::format("    {}\n", shell_quoted(row.name + ":" + zsh_help(row.summary)));
  }
  text +=
      "  )\n"
      "  if (( CURRENT == 2 )); then _describe command commands; return; fi\n"
      "  case $words[2] in\n";
  for (const CommandRow& row : rows) {
    text += fmt::format("    {}) options=(\n", row.name);
    for (const OptionRow& option : row.options) {
      for (const std::string& name : option.names) {
        const std::string spec = fmt::format("{}[{}]{}", name, zsh_help(option.help),
                                             option.takes_value ? ":value:_files" : "");
        text += "      " + shell_quoted(spec) + "\n";
      }
    }
    text += "    ) ;;\n";
  }
  return text +
         "  esac\n"
         "  shift words; (( CURRENT-- ))\n"
         "  _arguments $options '*:model:_serval_models'\n"
         "}\n"
         "compdef _serval serval\n";
}

std::string fish_script(const std::vector<CommandRow>& rows) {
  std::string text = "# fish completion for serval; use: serval completion fish | source\n";
  std::vector<std::string> names;
  names.reserve(rows.size());
  for (const CommandRow& row : rows) names.push_back(row.name);
  text += "complete -c serval -n __fish_use_subcommand -f\n";
  for (const CommandRow& row : rows) {
    text += fmt::format("complete -c serval -n __fish_use_subcommand -a {} -d {}\n", row.name,
                        shell_quoted(row.summary));
  }
  text += fmt::format(
      "complete -c serval -n '__fish_seen_subcommand_from {}' -a '(serval completion --models "
      "2>/dev/null)'\n",
      joined(names));
  for (const CommandRow& row : rows) {
    for (const OptionRow& option : row.options) {
      std::string words;
      for (const std::string& name : option.names) {
        words += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
      }
      text +=
          fmt::format("complete -c serval -n '__fish_seen_subcommand_from {}'{}{} -d {}\n",
                      row.name, words, option.takes_value ? " -r" : "", shell_quoted(option.help));
    }
  }
  return text;
}

int completion(const std::string& shell, bool models) {
  if (models) {
    std::vector<std::string> names;
    for (const InstalledModel& model : ModelFolder(model_root()).list()) names.push_back(model.id);
    for (const CatalogueEntry& entry : catalogue()) names.emplace_back(entry.name);
    std::sort(names.begin(), names.end());
    names.erase(std::unique(names.begin(), names.end()), names.end());
    print(joined(names, "\n") + "\n");
    return kExitDone;
  }
  const std::vector<CommandRow> rows = walk();
  if (shell == "bash") {
    print(bash_script(rows));
  } else if (shell == "zsh") {
    print(zsh_script(rows));
  } else if (shell == "fish") {
    print(fish_script(rows));
  } else {
    throw UsageError("completion needs the name of a shell: bash, zsh or fish");
  }
  return kExitDone;
}

}  // namespace

Action define_completion(CLI::App& app) {
  const auto shell = std::make_shared<std::string>();
  const auto models = std::make_shared<bool>(false);
  app.add_option("shell", *shell, "bash, zsh or fish");
  app.add_flag("--models", *models, "only the names of models, for the scripts");
  return [shell, models] { return completion(*shell, *models); };
}

}  // namespace serval
