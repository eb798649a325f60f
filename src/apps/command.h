// What a command is: a row in main.cpp's table, and one file that defines its options and its work.
#pragma once

#include <functional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

namespace CLI {
class App;
}

namespace serval {

// The work of a command, called after its options were read. Returns the exit code.
using Action = std::function<int()>;

struct Command {
  std::string_view name;
  std::string_view summary;
  std::string_view example;
  Action (*define)(CLI::App& app);  // adds the options to `app`; must stay cheap
};

std::span<const Command> commands();

// Exit codes.
inline constexpr int kExitDone = 0;
inline constexpr int kExitWorld = 1;  // file, memory, network, device
inline constexpr int kExitUsage = 2;
inline constexpr int kExitInterrupted = 130;

// The user asked for something that makes no sense: exit code 2.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

Action define_run(CLI::App& app);
Action define_serve(CLI::App& app);
Action define_pull(CLI::App& app);
Action define_list(CLI::App& app);
Action define_rm(CLI::App& app);
Action define_inspect(CLI::App& app);
Action define_tokenize(CLI::App& app);
Action define_template(CLI::App& app);
Action define_perplexity(CLI::App& app);
Action define_bench(CLI::App& app);
Action define_quantize(CLI::App& app);
Action define_doctor(CLI::App& app);
Action define_top(CLI::App& app);
Action define_trace(CLI::App& app);
Action define_completion(CLI::App& app);

}  // namespace serval
