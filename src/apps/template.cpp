// serval template: renders a chat with the model's template, or another one.
#include "text/chat/template.h"

#include <fmt/format.h>

#include <boost/json.hpp>
#include <ctime>
#include <memory>
#include <optional>

#include "apps/command.h"
#include "apps/generation.h"
#include "apps/json_text.h"
#include "apps/model_argument.h"
#include "apps/options.h"
#include "apps/terminal.h"
#include "apps/text_input.h"
#include "base/utf8.h"
#include "format/gguf.h"
#include "text/tokenizer.h"

namespace serval {
namespace {

namespace json = boost::json;

struct TemplateOptions {
  ModelOptions model;
  std::vector<std::string> positionals;
  std::string template_file, messages_file, tools_file;
  std::optional<std::string> bos, eos;
  std::vector<std::string> prompts;
  bool add_generation_prompt = false, tokens = false, json = false;
};

json::value read_json(const std::string& path) {
  const std::string text = read_input(path);
  boost::system::error_code error;
  json::parse_options parse_options;
  parse_options.max_depth = 64;
  json::value value = json::parse(text, error, {}, parse_options);
  if (error) throw UsageError(path + ": is not valid JSON: " + error.message());
  return value;
}

json::object variables(const TemplateOptions& options, const Vocab* vocab) {
  json::object out;
  if (!options.messages_file.empty()) {
    const json::value value = read_json(options.messages_file);
    if (value.is_array()) {
      out["messages"] = value;
    } else if (value.is_object()) {
      out = value.get_object();
    } else {
      throw UsageError(options.messages_file +
                       ": an array of messages or an object of variables is needed");
    }
  }
  if (!options.prompts.empty()) {
    json::array& messages =
        out["messages"].is_array() ? out["messages"].as_array() : out["messages"].emplace_array();
    for (const std::string& text : options.prompts) {
      require_utf8(text, "-p");
      messages.push_back(json::object{{"role", "user"}, {"content", text}});
    }
  }
  if (!out.contains("messages")) throw UsageError("template: --messages FILE or -p TEXT is needed");
  if (!options.tools_file.empty()) out["tools"] = read_json(options.tools_file);
  if (options.add_generation_prompt) out["add_generation_prompt"] = true;
  if (!out.contains("add_generation_prompt")) out["add_generation_prompt"] = false;
  const auto token_text = [&](const std::optional<std::string>& given, const char* key,
                              std::optional<TokenId> Vocab::*member) {
    if (given) {
      out[key] = *given;
    } else if (!out.contains(key)) {
      const bool known = vocab != nullptr && vocab->*member;
      out[key] = known ? std::string(vocab->texts[static_cast<size_t>(*(vocab->*member))]) : "";
    }
  };
  token_text(options.bos, "bos_token", &Vocab::bos);
  token_text(options.eos, "eos_token", &Vocab::eos);
  return out;
}

// Seconds whose UTC reading is the local time: what strftime_now should show.
int64_t local_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts = {};
  localtime_r(&now, &parts);
  return static_cast<int64_t>(now) + parts.tm_gmtoff;
}

int render(const TemplateOptions& options) {
  if (options.positionals.size() > 1) throw UsageError("template takes one MODEL");
  const std::string name =
      options.positionals.empty() ? options.model.model : options.positionals.front();
  // With a template of its own and no model named, none is needed.
  std::unique_ptr<GgufFile> file;
  std::shared_ptr<const Vocab> vocab;
  if (options.template_file.empty() || !name.empty() || options.tokens) {
    file = GgufFile::open(resolve_model(name, options.model));
    vocab = Vocab::from_gguf(*file);
  }
  std::string source;
  if (!options.template_file.empty()) {
    source = read_input(options.template_file);
  } else if (const auto own = file->get_string("tokenizer.chat_template")) {
    source = *own;
  } else {
    throw Error(ErrorCode::kNotFound,
                file->path() + ": has no chat template; give one with --template");
  }
  const auto chat = checked(ChatTemplate::parse(source));
  const std::vector<TextRun> runs =
      checked(chat->render(variables(options, vocab.get()), local_now()));
  if (options.tokens) {
    // Templates write their own BOS, so none is added to what they rendered.
    const std::vector<TokenId> ids = Tokenizer::create(vocab)->encode(runs, false);
    print(compact_json(json::array(ids.begin(), ids.end())) + "\n");
  } else if (options.json) {
    print(pretty_json(json::object{{"text", replace_invalid_utf8(join(runs))}}) + "\n");
  } else {
    print(join(runs));
  }
  return kExitDone;
}

}  // namespace

Action define_template(CLI::App& app) {
  const auto o = std::make_shared<TemplateOptions>();
  app.add_option("arguments", o->positionals, "[MODEL]")->type_name("");
  add_model_options(app, o->model);
  app.add_option("--template", o->template_file, "a file with another template");
  app.add_option("--messages", o->messages_file,
                 "JSON: an array of messages, or an object of template variables");
  app.add_option("-p,--prompt", o->prompts, "a message of the user");
  app.add_option("--tools", o->tools_file, "JSON array of tools");
  app.add_flag("--add-generation-prompt", o->add_generation_prompt, "begin the answer");
  app.add_option("--bos", o->bos, "text of bos_token");
  app.add_option("--eos", o->eos, "text of eos_token");
  app.add_flag("--tokens", o->tokens, "the token ids as a JSON array");
  app.add_flag("--json", o->json, "{\"text\": ...}");
  return [o] { return render(*o); };
}

}  // namespace serval
