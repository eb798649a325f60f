// ChatTemplate: our Jinja engine for the templates that models ship. No host access; steps, depth
// and output are budgeted. Output is runs of (text, trusted): literals of the template are trusted,
// values from the variables are not, and filters keep trust.
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "serval/error.h"
#include "text/tokenizer.h"

namespace serval {

struct TemplateLimits {
  uint64_t steps = 100'000;  // evaluated nodes and loop iterations
  uint64_t output_bytes = 1 << 20;
  int depth = 64;                  // nesting of expressions, blocks, macro calls
  uint64_t value_bytes = 8 << 20;  // strings and lists built while rendering
};

class ChatTemplate {
 public:
  // Parses once; shared by any number of threads. Errors name line and column.
  static Result<std::shared_ptr<const ChatTemplate>> parse(std::string_view source);
  ~ChatTemplate();

  // `variables`: the template's globals (messages, tools, add_generation_prompt, bos_token,
  // eos_token, ...). `now`: seconds since the epoch for strftime_now (UTC unless the caller shifted
  // it). raise_exception in the template -> Error(kInvalidArgument) with its message.
  // `trusted_variables`: names of top-level variables that come from the model file and not from a
  // user (bos_token, eos_token, ...), whose text may become control tokens.
  Result<std::vector<TextRun>> render(const boost::json::object& variables, int64_t now,
                                      const TemplateLimits& limits = {},
                                      const std::vector<std::string>& trusted_variables = {}) const;

 private:
  ChatTemplate();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// All runs joined.
std::string join(const std::vector<TextRun>& runs);

}  // namespace serval
