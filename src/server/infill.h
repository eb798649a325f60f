// Fill-in-the-middle: a prompt that shows a model the text before and after a gap. Models trained
// for it have control tokens that mark the parts.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "serval/engine.h"

namespace serval {

struct InfillTokens {
  TokenId prefix = 0, suffix = 0, middle = 0;
  std::optional<TokenId> repository, file;  // begin a list of files, and each of them
  std::vector<TokenId> ends;                // where such a model stops besides its end of text
};

// The tokens of this model; nullopt when it has none.
std::optional<InfillTokens> find_infill_tokens(const Engine& engine);

struct InfillParts {
  std::string_view prefix, suffix;
  std::string_view middle;                                 // the answer's begin, given
  std::vector<std::pair<std::string, std::string>> extra;  // other files: name and text
};

struct InfillPrompt {
  std::vector<TokenId> tokens;
  size_t dropped = 0;  // extra files left out, the first ones
};

// `room`: tokens the prompt may have. Extra files are left out while it is longer; the parts
// themselves are never cut.
InfillPrompt infill_prompt(const Engine& engine, const InfillTokens& marks,
                           const InfillParts& parts, size_t room);

}  // namespace serval
