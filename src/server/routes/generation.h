// Generation: from a decoded call to its reply, for every dialect that generates text.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/http/exchange.h"
#include "server/openai/decode.h"
#include "server/openai/wire.h"
#include "server/service.h"

namespace serval {

// Options of the wire that are the same for every dialect. `prefix` begins the reply's id.
WireOptions wire_options(Service& service, const GenerateCall& call, const char* prefix);

// The tokens of each prompt; an error when one is longer than the context allows. `generates`: one
// token must stay free for the answer.
std::optional<ApiError> tokenize_prompts(Service& service, const std::vector<Prompt>& prompts,
                                         bool generates, std::vector<std::vector<TokenId>>& out);
// Whose request it is and how long it may take.
void share_fairly(const Service& service, const Exchange& exchange, Request& request);

// Tokenises, submits every choice, answers as events come. Blocks its caller while tokenising.
void start_generation(Service& service, const ExchangePtr& exchange, GenerateCall call,
                      std::unique_ptr<Wire> wire);

}  // namespace serval
