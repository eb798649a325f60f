// serval: finds the command in the table, reads its options, runs it, and turns whatever went wrong
// into one line on standard error and an exit code.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "apps/command.h"
#include "apps/generation.h"
#include "apps/interrupt.h"
#include "apps/options.h"
#include "apps/terminal.h"
#include "serval/error.h"

namespace serval {
namespace {

constexpr Command kCommands[] = {
    {"run", "ask a model once, or chat with it", "serval run \"Why is the sky blue?\"", define_run},
    {"serve", "serve a model over HTTP, as OpenAI's clients expect",
     "serval serve smollm2 --port 8080", define_serve},
    {"pull", "download a model", "serval pull smollm2", define_pull},
    {"list", "show the installed models", "serval list --all", define_list},
    {"rm", "remove an installed model", "serval rm smollm2:135m", define_rm},
    {"inspect", "show what is inside a model file", "serval inspect smollm2 --plan",
     define_inspect},
    {"tokenize", "turn text into token ids and back", "echo Hello | serval tokenize smollm2",
     define_tokenize},
    {"template", "render a chat as the model sees it",
     "serval template smollm2 --messages chat.json", define_template},
    {"perplexity", "measure how well a model predicts a text",
     "serval perplexity smollm2 -f book.txt", define_perplexity},
    {"bench", "measure speed against the machine's limits", "serval bench smollm2 -p 512 -n 128",
     define_bench},
    {"top", "show live what a server does", "serval top http://127.0.0.1:8080", define_top},
    {"trace", "save what a server did in the last seconds", "serval trace -s 10 -o t.pftrace",
     define_trace},
    {"quantize", "write a model in another format", "serval quantize in.gguf out.gguf Q8_0",
     define_quantize},
    {"doctor", "check this machine", "serval doctor", define_doctor},
    {"completion", "print a shell completion script", "source <(serval completion bash)",
     define_completion},
};

std::string overview() {
  std::string text =
      "serval: runs large language models from GGUF files\n\nusage: serval COMMAND [MODEL] "
      "[options]\n\n";
  for (const Command& command : kCommands) {
    text += fmt::format("  {:<12}{}\n", command.name, command.summary);
  }
  text +=
      "\n`serval COMMAND --help` explains a command; `serval run \"Hello\"` starts the default "
      "model.\n";
  return text;
}

int run_command(const Command& command, std::vector<std::string> arguments) {
  CLI::App app(fmt::format("serval {}: {}", command.name, command.summary),
               std::string(command.name));
  app.footer(fmt::format("example: {}", command.example));
  const Action action = command.define(app);
  add_common_options(app);
  if (!read_options(app, std::move(arguments))) return kExitDone;
  return action();
}

int dispatch(std::vector<std::string> arguments) {
  if (arguments.empty()) {
    print(overview());
    return kExitDone;
  }
  const std::string name = arguments.front();
  arguments.erase(arguments.begin());
  if (name == "--help" || name == "-h" || name == "help") {
    if (name == "help" && !arguments.empty()) return dispatch({arguments.front(), "--help"});
    print(overview());
    return kExitDone;
  }
  if (name == "--version" || name == "version") {
    print("serval " SERVAL_VERSION "\n");
    return kExitDone;
  }
  std::vector<std::string> names;
  for (const Command& command : kCommands) {
    if (command.name == name) return run_command(command, std::move(arguments));
    names.emplace_back(command.name);
  }
  const std::string near = nearest_name(name, names);
  throw UsageError(fmt::format("unknown command \"{}\"{}; `serval --help` lists the commands",
                               terminal_safe(name),
                               near.empty() ? "" : "; did you mean " + near + "?"));
}

// Errors are one line, whatever bytes they quote.
void report(const std::string& message) {
  std::string line = terminal_safe(message);
  for (char& c : line) {
    if (c == '\n' || c == '\t') c = ' ';
  }
  notice(line);
}

int guarded_main(std::vector<std::string> arguments) {
  try {
    return dispatch(std::move(arguments));
  } catch (const UsageError& error) {
    report(error.what());
    return kExitUsage;
  } catch (const Error& error) {
    report(error.message());
    return error.code() == ErrorCode::kCancelled ? kExitInterrupted : kExitWorld;
  } catch (const std::bad_alloc&) {
    report("out of memory; try a smaller model, or a smaller context with -c");
    return kExitWorld;
  } catch (const std::exception& error) {
    report(error.what());
    return kExitWorld;
  }
}

}  // namespace

std::span<const Command> commands() { return kCommands; }

}  // namespace serval

int main(int argc, char** argv) {
  serval::mark_process_start();
  serval::install_signal_handlers();
  return serval::guarded_main(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc));
}
