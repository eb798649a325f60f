// llama-server's own dialect: POST /completion and /infill. The same engine requests, other names.
#pragma once

#include <boost/json/object.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/openai/decode.h"
#include "server/openai/wire.h"

namespace serval {

// Both leave the prompt to the functions below. REQUIRES: `defaults` is the model's own sampling.
std::optional<ApiError> decode_native(const boost::json::object& body,
                                      std::span<const Field> fields, const SamplingParams& defaults,
                                      GenerateCall& call);

// `prompt`: a text, a list that mixes texts and token ids, or a list of such prompts.
std::optional<ApiError> decode_native_prompts(const Engine& engine, const boost::json::object& body,
                                              std::vector<Prompt>& out);

std::optional<ApiError> decode_extra_files(const boost::json::object& body,
                                           std::vector<std::pair<std::string, std::string>>& out);

// `prompts`: the text of each. `settings`: what the request came to, shown at the end.
std::unique_ptr<Wire> native_wire(const Engine& engine, WireOptions options,
                                  std::vector<std::string> prompts, boost::json::object settings);

// Every sampling parameter by name, and the chain's order. Also for /props.
boost::json::object sampling_json(const SamplingParams& params);
boost::json::object generation_settings(const GenerateCall& call, int context);

}  // namespace serval
