// serval run: one answer, a batch of answers, or a chat on the terminal.
#include <fmt/format.h>

#include <boost/json.hpp>
#include <memory>

#include "apps/chat_session.h"
#include "apps/command.h"
#include "apps/conversation.h"
#include "apps/generation.h"
#include "apps/interrupt.h"
#include "apps/json_text.h"
#include "apps/model_argument.h"
#include "apps/options.h"
#include "apps/terminal.h"
#include "apps/text_input.h"

namespace serval {
namespace {

namespace json = boost::json;

struct RunOptions {
  ModelOptions model;
  EngineOptions engine;
  SamplingOptions sampling;
  std::vector<std::string> positionals;
  std::string prompt, prompt_file, prompts_file, system, template_file, load, save;
  std::vector<std::string> stop;
  int max_tokens = -1, min_tokens = 0, logprobs = 0;
  bool raw = false, json = false, quiet = false, ignore_eos = false, special = false;
};

// What every request of this call shares: everything but the prompt.
Request request_template(const RunOptions& options, const Engine& engine) {
  Request request;
  request.sampling = sampling_params(options.sampling, engine.info().sampling);
  if (options.max_tokens >= 0) request.max_tokens = options.max_tokens;
  request.min_tokens = options.min_tokens;
  request.stop = options.stop;
  request.ignore_eos = options.ignore_eos;
  request.logprobs = options.logprobs;
  request.special = options.special;
  ChatPrompt chat;
  if (!options.template_file.empty()) {
    chat.template_override = read_input(options.template_file);
  }
  request.prompt = chat;
  return request;
}

bool completes_raw(const RunOptions& options, const Engine& engine) {
  if (options.raw) return true;
  if (!engine.info().chat_template.empty() || !options.template_file.empty()) return false;
  notice("this model has no chat template: it completes the text as it stands");
  return true;
}

Conversation new_conversation(const RunOptions& options, bool raw) {
  Conversation conversation;
  conversation.raw = raw;
  if (options.system.empty()) return conversation;
  if (raw) {
    notice("--system has no effect without a chat template");
    return conversation;
  }
  ChatMessage message;
  message.role = "system";
  message.content = options.system;
  conversation.messages.push_back(std::move(message));
  return conversation;
}

Request with_prompt(Request request, const Conversation& conversation, const std::string& text) {
  Conversation next = conversation;
  if (next.raw) {
    next.text += text;
  } else {
    ChatMessage message;
    message.role = "user";
    message.content = text;
    next.messages.push_back(std::move(message));
  }
  Prompt prompt = next.prompt(true);
  if (auto* chat = std::get_if<ChatPrompt>(&prompt)) {
    chat->template_override = std::get<ChatPrompt>(request.prompt).template_override;
  }
  request.prompt = std::move(prompt);
  return request;
}

// Lines of text, or JSON lines: a string, or an object with "prompt". JSONL is meant when the first
// line is a JSON string or object.
std::vector<std::string> read_prompts(const std::string& path) {
  std::vector<std::string> prompts;
  const std::string text = read_input(path);
  require_utf8(text, path);
  bool as_json = false;
  size_t number = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string line = text.substr(at, end - at);
    at = end + 1;
    ++number;
    if (line.ends_with('\r')) line.pop_back();
    if (line.empty()) continue;
    boost::system::error_code error;
    const json::value value = json::parse(line, error);
    if (prompts.empty()) as_json = !error && (value.is_string() || value.is_object());
    if (!as_json) {
      prompts.push_back(std::move(line));
      continue;
    }
    const json::value* prompt = &value;
    if (!error && value.is_object()) prompt = value.get_object().if_contains("prompt");
    if (error || prompt == nullptr || !prompt->is_string()) {
      throw UsageError(fmt::format("{}: line {} is not a JSON string or an object with \"prompt\"",
                                   path, number));
    }
    prompts.emplace_back(prompt->get_string());
  }
  if (prompts.empty()) throw UsageError(path + ": holds no prompt");
  return prompts;
}

int run_batch(const RunOptions& options, const std::string& model_path) {
  const std::vector<std::string> prompts = read_prompts(options.prompts_file);
  EngineConfig config = engine_config(options.engine, model_path);
  config.max_queue = static_cast<int>(std::max<size_t>(prompts.size(), 1024));
  const std::unique_ptr<Engine> engine = load_engine(config);
  const Conversation conversation = new_conversation(options, completes_raw(options, *engine));
  const Request shared = request_template(options, *engine);
  std::vector<Request> requests;
  for (const std::string& prompt : prompts) {
    requests.push_back(with_prompt(shared, conversation, prompt));
  }
  const InterruptScope scope;
  const std::vector<Answer> answers = run_requests(*engine, std::move(requests), {});
  if (options.json) {
    json::array rows;
    for (const Answer& answer : answers) {
      rows.push_back(answer_json(*engine, answer, options.logprobs > 0));
    }
    print(pretty_json(rows) + "\n");
  } else {
    for (size_t i = 0; i < answers.size(); ++i) {
      print(fmt::format("{}### {}\n{}\n", i > 0 ? "\n" : "", prompts[i], answers[i].text));
    }
  }
  return interrupted() ? kExitInterrupted : kExitDone;
}

// The prompt from all the places it may come from.
std::string gather_prompt(const RunOptions& options, const std::string& positional) {
  if (!options.prompt.empty() && !positional.empty()) {
    throw UsageError("the prompt is given twice: once with -p and once as an argument");
  }
  std::string prompt = options.prompt.empty() ? positional : options.prompt;
  const auto join = [&](std::string text) {
    while (!prompt.empty() && text.ends_with('\n')) text.pop_back();
    prompt += (prompt.empty() || text.empty() ? "" : "\n\n") + text;
  };
  if (!options.prompt_file.empty()) join(read_input(options.prompt_file));
  if (options.prompt_file != "-" && !stdin_is_terminal() && stdin_holds_text()) join(read_stdin());
  require_utf8(prompt, "prompt");
  return prompt;
}

int run_once(const RunOptions& options, Engine& engine, Conversation conversation,
             const std::string& prompt) {
  Answer answer;
  {
    const Request request = with_prompt(request_template(options, engine), conversation, prompt);
    const bool safe = stdout_is_terminal();
    const InterruptScope scope;
    answer = run_request(engine, request, [&](std::string_view piece) {
      if (!options.json) print(safe ? terminal_safe(piece) : std::string(piece));
    });
  }
  if (options.json) {
    print(pretty_json(answer_json(engine, answer, options.logprobs > 0)) + "\n");
  } else {
    if (!answer.text.ends_with('\n')) print("\n");
    if (!options.quiet) notice(timings_line(engine, answer));
  }
  if (!options.save.empty()) {
    if (conversation.raw) {
      conversation.text += prompt + answer.text;
    } else {
      ChatMessage user, assistant;
      user.role = "user";
      user.content = prompt;
      assistant.role = "assistant";
      assistant.content = answer.text;
      conversation.messages.push_back(std::move(user));
      conversation.messages.push_back(std::move(assistant));
    }
    notice(save_conversation(engine, conversation, options.save));
  }
  return answer.finished.reason == FinishReason::kCancelled ? kExitInterrupted : kExitDone;
}

int run(const RunOptions& options) {
  const ModelAndText chosen = split_positionals(options.model.model, options.positionals);
  if (!options.prompts_file.empty()) {
    return run_batch(options, resolve_model(chosen.model, options.model));
  }
  const std::string prompt = gather_prompt(options, chosen.text);
  const bool chat = prompt.empty() && stdin_is_terminal() && !options.json;
  if (prompt.empty() && !chat && options.load.empty()) {
    throw UsageError("there is no prompt: give one as an argument, with -p, or on standard input");
  }
  require_utf8(options.system, "--system");
  const std::string path = resolve_model(chosen.model, options.model);
  EngineConfig config = engine_config(options.engine, path);
  if (options.engine.parallel == 0) config.max_sequences = 1;
  const std::unique_ptr<Engine> engine = load_engine(config);
  const bool raw = completes_raw(options, *engine);
  Conversation conversation = options.load.empty() ? new_conversation(options, raw)
                                                   : load_conversation(*engine, options.load);
  if (!chat) return run_once(options, *engine, std::move(conversation), prompt);
  ChatSession session(*engine, request_template(options, *engine), std::move(conversation));
  const int code = session.run();
  if (!options.save.empty())
    notice(save_conversation(*engine, session.conversation(), options.save));
  return code;
}

}  // namespace

Action define_run(CLI::App& app) {
  const auto o = std::make_shared<RunOptions>();
  app.add_option("arguments", o->positionals, "[MODEL] [PROMPT]")->type_name("");
  add_model_options(app, o->model);
  app.add_option("-p,--prompt", o->prompt, "what to ask; piped standard input is added to it");
  app.add_option("-f,--file", o->prompt_file, "a file with the prompt; - is standard input");
  app.add_option("--prompts", o->prompts_file, "many prompts at once: one per line, or JSON lines");
  app.add_option("--system", o->system, "system message");
  app.add_option("-n,--max-tokens,--n-predict,--predict", o->max_tokens,
                 "tokens to generate; -1: up to the end of the context")
      ->check(CLI::Range(-1, 1 << 30))
      ->capture_default_str();
  app.add_option("--min-tokens", o->min_tokens, "do not end before")->check(CLI::Range(0, 1 << 30));
  app.add_option("--stop", o->stop, "end before this text; may be repeated")
      ->allow_extra_args(false);
  app.add_flag("--raw", o->raw, "complete the text without a chat template");
  app.add_option("--chat-template-file", o->template_file, "a template instead of the model's own");
  app.add_option("--load", o->load, "continue a saved conversation");
  app.add_option("--save", o->save, "save the conversation with its computed state");
  app.add_flag("--json", o->json, "one JSON document instead of the text");
  app.add_option("--logprobs", o->logprobs, "the K likeliest tokens at each place (with --json)")
      ->check(CLI::Range(0, 20));
  app.add_flag("--ignore-eos", o->ignore_eos, "go on after the end of the answer");
  app.add_flag("--special", o->special, "show control tokens");
  app.add_flag("-q,--quiet", o->quiet, "no timings");
  add_engine_options(app, o->engine);
  add_sampling_options(app, o->sampling);
  return [o] { return run(*o); };
}

}  // namespace serval
