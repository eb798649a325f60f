// Validation and the reference page, both read off the table of processors.cpp.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "sampling/processors.h"

namespace serval {
namespace {

constexpr size_t kMaxBias = 4096;
constexpr size_t kMaxBreakers = 64;
constexpr size_t kMaxBreakerBytes = 40;
constexpr size_t kMaxSamplers = 32;

Error invalid(std::string_view param, std::string message) {
  return {ErrorCode::kInvalidArgument, std::move(message), std::string(param)};
}

Result<void> check(const Parameter& parameter, const SamplingParams& params) {
  const double value = parameter.get(params);
  if (std::isfinite(value) && value >= parameter.minimum && value <= parameter.maximum) return {};
  return invalid(parameter.name,
                 fmt::format("{} is {}, but must be between {} and {}", parameter.name, value,
                             parameter.minimum, parameter.maximum));
}

std::string sampler_names() {
  std::string names;
  for (const Processor& p : processors()) {
    if (p.stage != Stage::kWeigh && p.stage != Stage::kTruncate) continue;
    names += (names.empty() ? "" : ", ") + std::string(p.name);
  }
  return names;
}

Result<void> check_names(const SamplingParams& params) {
  if (params.samplers.size() > kMaxSamplers) {
    return invalid("samplers", fmt::format("samplers names {} samplers, but at most {} are allowed",
                                           params.samplers.size(), kMaxSamplers));
  }
  for (const std::string& name : params.samplers) {
    const Processor* found = find_processor(name);
    if (found == nullptr || found->stage == Stage::kFirst || found->stage == Stage::kLast) {
      return invalid("samplers", fmt::format("samplers: \"{}\" is not a sampler; known are {}",
                                             name.substr(0, 40), sampler_names()));
    }
  }
  return {};
}

Result<void> check_lists(const SamplingParams& params, int vocab_size) {
  if (params.logit_bias.size() > kMaxBias) {
    return invalid("logit_bias",
                   fmt::format("logit_bias has {} entries, but at most {} are allowed",
                               params.logit_bias.size(), kMaxBias));
  }
  for (const auto& [id, bias] : params.logit_bias) {
    if (id < 0 || id >= vocab_size) {
      return invalid("logit_bias",
                     fmt::format("logit_bias names token {}, but the vocabulary has {} tokens", id,
                                 vocab_size));
    }
    // Minus infinity bans a token; the other special values would poison the whole row.
    if (std::isnan(bias) || bias > 1e6F) {
      return invalid("logit_bias",
                     fmt::format("logit_bias of token {} is {}, but must be at most 1000000", id,
                                 static_cast<double>(bias)));
    }
  }
  if (params.dry_sequence_breakers.size() > kMaxBreakers) {
    return invalid("dry_sequence_breakers",
                   fmt::format("dry_sequence_breakers has {} entries, but at most {} are allowed",
                               params.dry_sequence_breakers.size(), kMaxBreakers));
  }
  for (const std::string& text : params.dry_sequence_breakers) {
    if (text.empty() || text.size() > kMaxBreakerBytes) {
      return invalid(
          "dry_sequence_breakers",
          fmt::format("dry_sequence_breakers: an entry has {} bytes, but 1 to {} are allowed",
                      text.size(), kMaxBreakerBytes));
    }
  }
  return {};
}

const char* stage_text(Stage stage) {
  switch (stage) {
    case Stage::kFirst:
      return "before the chain";
    case Stage::kWeigh:
      return "chain, changes weights";
    case Stage::kTruncate:
      return "chain, drops candidates";
    case Stage::kLast:
      return "after the chain";
  }
  return "";
}

void append_parameters(std::string& out, std::span<const Parameter> parameters) {
  if (parameters.empty()) return;
  out += "\n| field | type | default | range | meaning |\n|---|---|---|---|---|\n";
  for (const Parameter& p : parameters) {
    const bool open = p.maximum >= 2147483647.0;
    out += fmt::format(
        "| `{}` | {} | {} | {} | {} |\n", p.name, p.integer ? "integer" : "number",
        static_cast<float>(p.get({})),
        open ? fmt::format(">= {}", p.minimum) : fmt::format("{} to {}", p.minimum, p.maximum),
        p.meaning);
  }
}

}  // namespace

Result<void> validate(const SamplingParams& params, int vocab_size) {
  for (const Processor& processor : processors()) {
    for (const Parameter& parameter : processor.parameters) {
      if (auto ok = check(parameter, params); !ok) return ok;
    }
  }
  for (const Parameter& parameter : general_parameters()) {
    if (auto ok = check(parameter, params); !ok) return ok;
  }
  if (params.mirostat == 1) {
    return invalid("mirostat", "mirostat is 1, but only 0 (off) and 2 (version 2) are implemented");
  }
  if (auto ok = check_names(params); !ok) return ok;
  return check_lists(params, vocab_size);
}

std::string sampling_reference() {
  std::string chain;
  for (const std::string_view name : default_chain()) {
    if (!chain.empty()) chain += ';';
    chain += name;
  }
  std::string out =
      "# Sampling parameters\n\n"
      "<!-- Made from the table in src/sampling/processors.cpp by `sampling_probe reference`; "
      "do not edit. -->\n\n"
      "The chain runs in this order unless a request's `samplers` names another: `" +
      chain +
      "`. A sampler that is not named does not run. `temperature` 0 always takes the most likely "
      "token (after bias and the penalties of the chain; XTC and typical sampling can exclude it). "
      "With the same `seed` "
      "a request draws the same tokens, "
      "alone or among others.\n";
  for (const Processor& p : processors()) {
    out += fmt::format("\n## {}\n\n{} ({}", p.name, p.summary, stage_text(p.stage));
    for (const std::string_view alias : p.aliases) out += fmt::format("; also spelt `{}`", alias);
    out += ")\n";
    append_parameters(out, p.parameters);
  }
  out += "\n## All samplers\n";
  append_parameters(out, general_parameters());
  out += fmt::format(
      "\n`logit_bias`: at most {} pairs of token and number; minus infinity bans the token. "
      "`dry_sequence_breakers`: at most {} strings of 1 to {} bytes.\n",
      kMaxBias, kMaxBreakers, kMaxBreakerBytes);
  return out;
}

}  // namespace serval
