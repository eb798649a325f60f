// What `serval bench` times: prompts and decodes through the engine that everything else uses. All
// throw what the engine fails with, and Error(kCancelled) after Ctrl-C.
#pragma once

#include <cstdint>
#include <string>

#include "apps/speed_rows.h"
#include "serval/engine.h"

namespace serval {

constexpr int kDigestTokens = 64;

// Tokens per second of one prompt that no other `stream` shares.
double prompt_rate(Engine& engine, int tokens, uint64_t stream);

// Tokens per second of the row's sequences together, between the moment the last of them began to
// generate and the moment the first of them was done.
double decode_rate(Engine& engine, const SpeedRow& row);

// Of the logits of a fixed prompt of kDigestTokens: the same on two machines if they compute the
// same.
std::string logits_digest(Engine& engine);

}  // namespace serval
