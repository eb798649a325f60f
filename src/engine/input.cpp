// A chat becomes the variables that model templates expect (those of Hugging Face transformers'
// apply_chat_template): messages with role, content, tool_calls; tools; add_generation_prompt;
// bos_token and eos_token. The rendered runs are tokenised as one text; only characters that the
// template itself wrote may form control tokens.
#include "engine/input.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <chrono>
#include <climits>
#include <random>

#include "base/utf8.h"

namespace serval {
namespace {

constexpr size_t kMaxStops = 16;
constexpr size_t kMaxStopBytes = 256;
constexpr size_t kMaxStopTokens = 256;
constexpr int kMaxLogprobs = 20;
constexpr int kMaxPriority = 100;
constexpr size_t kMaxLabelBytes = 1024;

// `param` names the field of the request at fault; empty: none in particular.
Error invalid(std::string param, std::string message) {
  return {ErrorCode::kInvalidArgument, std::move(message), std::move(param)};
}

Result<void> check_utf8(std::string_view param, std::string_view what, std::string_view text) {
  const size_t good = valid_utf8_prefix(text);
  if (good == text.size()) return {};
  return invalid(
      std::string(param),
      fmt::format("{} is not valid UTF-8: byte {} cannot be part of a character", what, good));
}

boost::json::value tool_arguments(const std::string& text) {
  boost::system::error_code error;
  boost::json::value parsed = boost::json::parse(text, error);
  // Templates expect an object; a model's malformed arguments are shown as they were.
  return error || !parsed.is_object() ? boost::json::value(text) : parsed;
}

boost::json::object message_variables(const ChatMessage& message) {
  boost::json::object out;
  out["role"] = message.role;
  out["content"] = message.content;
  if (!message.reasoning.empty()) out["reasoning_content"] = message.reasoning;
  if (!message.name.empty()) out["name"] = message.name;
  if (!message.tool_call_id.empty()) out["tool_call_id"] = message.tool_call_id;
  if (message.tool_calls.empty()) return out;
  boost::json::array calls;
  for (const ToolCall& call : message.tool_calls) {
    boost::json::object function{{"name", call.name},
                                 {"arguments", tool_arguments(call.arguments_json)}};
    calls.push_back(boost::json::object{
        {"id", call.id}, {"type", "function"}, {"function", std::move(function)}});
  }
  out["tool_calls"] = std::move(calls);
  return out;
}

Result<boost::json::object> chat_variables(const ChatPrompt& chat, const Tokenizer& tokenizer) {
  boost::json::object out;
  boost::json::array messages;
  for (size_t i = 0; i < chat.messages.size(); ++i) {
    const ChatMessage& message = chat.messages[i];
    const std::string place = fmt::format("messages[{}].content", i);
    const auto valid = check_utf8(place, place, message.content);
    if (!valid) return valid.error();
    messages.push_back(message_variables(message));
  }
  out["messages"] = std::move(messages);
  out["add_generation_prompt"] = chat.add_generation_prompt;
  if (!chat.tools_json.empty()) {
    boost::system::error_code error;
    boost::json::value tools = boost::json::parse(chat.tools_json, error);
    if (error || !tools.is_array()) return invalid("tools", "tools_json is not a JSON array");
    if (!tools.as_array().empty()) out["tools"] = std::move(tools);
  }
  const Vocab& vocab = tokenizer.vocab();
  out["bos_token"] = vocab.bos ? tokenizer.piece(*vocab.bos, true) : "";
  out["eos_token"] = vocab.eos ? tokenizer.piece(*vocab.eos, true) : "";
  return out;
}

uint64_t draw_seed() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

int64_t deadline(int64_t now_us, int64_t timeout_ms) {
  if (timeout_ms <= 0 || timeout_ms > (INT64_MAX - now_us) / 1000) return INT64_MAX;
  return now_us + timeout_ms * 1000;
}

void sort_unique(std::vector<TokenId>& ids) {
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
}

}  // namespace

Input::Input(const Tokenizer& tokenizer, std::shared_ptr<const ChatTemplate> chat_template,
             std::string template_problem, int context)
    : tokenizer_(tokenizer),
      template_(std::move(chat_template)),
      template_problem_(std::move(template_problem)),
      context_(context) {}

Result<std::vector<TextRun>> Input::render_runs(const ChatPrompt& chat) const {
  std::shared_ptr<const ChatTemplate> used = template_;
  if (!chat.template_override.empty()) {
    auto parsed = ChatTemplate::parse(chat.template_override);
    if (!parsed) return parsed.error();
    used = *parsed;
  }
  if (used == nullptr) return invalid("messages", template_problem_);
  auto variables = chat_variables(chat, tokenizer_);
  if (!variables) return variables.error();
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return used->render(*variables, std::chrono::duration_cast<std::chrono::seconds>(now).count());
}

Result<std::string> Input::render(const ChatPrompt& chat) const {
  auto runs = render_runs(chat);
  if (!runs) return runs.error();
  return join(*runs);
}

Result<std::vector<TokenId>> Input::tokenize(const Prompt& prompt) const {
  if (const auto* tokens = std::get_if<std::vector<TokenId>>(&prompt)) return *tokens;
  if (const auto* text = std::get_if<TextPrompt>(&prompt)) {
    if (auto valid = check_utf8("prompt", "the prompt", text->text); !valid) return valid.error();
    return tokenizer_.encode(text->text, {text->parse_special, text->add_special});
  }
  auto runs = render_runs(std::get<ChatPrompt>(prompt));
  if (!runs) return runs.error();
  std::vector<TokenId> tokens = tokenizer_.encode(*runs, false);
  // Most templates write BOS themselves; for one that does not, the vocabulary's wish holds.
  const Vocab& vocab = tokenizer_.vocab();
  if (vocab.add_bos && vocab.bos && (tokens.empty() || tokens.front() != *vocab.bos)) {
    tokens.insert(tokens.begin(), *vocab.bos);
  }
  return tokens;
}

Result<void> Input::check(const Request& r) const {
  if (auto ok = validate(r.sampling, tokenizer_.vocab().size()); !ok) return ok;
  if (r.max_tokens && *r.max_tokens < 0) {
    return invalid("max_tokens",
                   fmt::format("max_tokens is {}, but must not be negative", *r.max_tokens));
  }
  if (r.min_tokens < 0 || (r.max_tokens && r.min_tokens > *r.max_tokens)) {
    return invalid(
        "min_tokens",
        fmt::format("min_tokens is {}, but must be between 0 and max_tokens", r.min_tokens));
  }
  if (r.logprobs < 0 || r.logprobs > kMaxLogprobs) {
    return invalid("logprobs", fmt::format("logprobs is {}, but must be between 0 and {}",
                                           r.logprobs, kMaxLogprobs));
  }
  if (r.stop.size() > kMaxStops) {
    return invalid("stop", fmt::format("stop has {} strings, but at most {} are allowed",
                                       r.stop.size(), kMaxStops));
  }
  for (const std::string& stop : r.stop) {
    if (stop.empty() || stop.size() > kMaxStopBytes) {
      return invalid("stop", fmt::format("stop: a string has {} bytes, but 1 to {} are allowed",
                                         stop.size(), kMaxStopBytes));
    }
    if (auto ok = check_utf8("stop", "stop: a string", stop); !ok) return ok;
  }
  if (r.stop_tokens.size() > kMaxStopTokens) {
    return invalid("stop_token_ids",
                   fmt::format("stop_tokens has {} ids, but at most {} are allowed",
                               r.stop_tokens.size(), kMaxStopTokens));
  }
  const int vocab = tokenizer_.vocab().size();
  for (const TokenId id : r.stop_tokens) {
    if (id < 0 || id >= vocab) {
      return invalid(
          "stop_token_ids",
          fmt::format("stop_tokens names token {}, but the vocabulary has {} tokens", id, vocab));
    }
  }
  return {};
}

Result<void> Input::check_sharing(const Request& r) const {
  if (r.priority < -kMaxPriority || r.priority > kMaxPriority) {
    return invalid("priority", fmt::format("priority is {}, but must be between {} and {}",
                                           r.priority, -kMaxPriority, kMaxPriority));
  }
  const auto check_label = [](const char* field, const std::string& text) -> Result<void> {
    if (text.size() <= kMaxLabelBytes) return {};
    return invalid(field, fmt::format("{} has {} bytes, but at most {} are allowed", field,
                                      text.size(), kMaxLabelBytes));
  };
  if (auto ok = check_label("tenant", r.tenant); !ok) return ok;
  if (auto ok = check_label("cache_salt", r.cache_salt); !ok) return ok;
  const auto check_time = [](const char* field, int64_t ms) -> Result<void> {
    if (ms >= 0) return {};
    return invalid(field, fmt::format("{} is {}, but must not be negative", field, ms));
  };
  if (auto ok = check_time("queue_timeout_ms", r.queue_timeout_ms); !ok) return ok;
  return check_time("timeout_ms", r.timeout_ms);
}

Result<void> Input::check_prompt(const std::vector<TokenId>& tokens, const Request& r) const {
  if (tokens.empty()) return invalid("prompt", "the prompt is empty: it holds no token");
  const bool generates = r.pooling == Pooling::kNone && (!r.max_tokens || *r.max_tokens > 0);
  const size_t most = static_cast<size_t>(context_) - (generates ? 1 : 0);
  if (tokens.size() > most) {
    return invalid(
        "prompt",
        fmt::format(
            "the prompt has {} tokens, but the context holds {}{}: shorten the prompt or raise the "
            "context",
            tokens.size(), context_, generates ? " and one must stay free for the answer" : ""));
  }
  const int vocab = tokenizer_.vocab().size();
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || tokens[i] >= vocab) {
      return invalid("prompt",
                     fmt::format("prompt token {} is {}, but the vocabulary has {} tokens", i,
                                 tokens[i], vocab));
    }
  }
  if (r.prompt_logits_from < 0) {
    return invalid(
        "prompt_logits_from",
        fmt::format("prompt_logits_from is {}, but must not be negative", r.prompt_logits_from));
  }
  return {};
}

Result<SequencePtr> Input::prepare(Request r, OutletPtr outlet, int64_t now_us) const {
  if (auto ok = check(r); !ok) return ok.error();
  if (auto ok = check_sharing(r); !ok) return ok.error();
  auto tokens = tokenize(r.prompt);
  if (!tokens) return tokens.error();
  if (auto ok = check_prompt(*tokens, r); !ok) return ok.error();

  auto s = std::make_unique<Sequence>();
  s->id = outlet->id;
  s->tokens = std::move(*tokens);
  s->prompt_tokens = s->known();
  s->length_limit = context_;
  s->use_cache = r.use_cache;
  s->priority = r.priority;
  s->tenant = std::move(r.tenant);
  s->cache_salt = std::move(r.cache_salt);
  s->reuse_limit = r.prompt_logits ? r.prompt_logits_from : INT_MAX;
  if (r.pooling != Pooling::kNone) {
    s->length_limit = s->prompt_tokens;
    s->at_limit = FinishReason::kStop;
    // Every position counts, so none may come from the cache; and what only such requests compute
    // would drive useful beginnings out of it.
    if (r.pooling != Pooling::kLast) s->use_cache = false;
  } else if (r.max_tokens && *r.max_tokens <= context_ - s->prompt_tokens) {
    s->length_limit = s->prompt_tokens + *r.max_tokens;
    s->at_limit = FinishReason::kLength;
  }
  s->tokens.reserve(static_cast<size_t>(s->length_limit));
  s->blocks.reserve(static_cast<size_t>(s->length_limit / kBlockTokens) + 1);

  const Vocab& vocab = tokenizer_.vocab();
  const bool continues = std::any_of(s->tokens.begin(), s->tokens.end(),
                                     [&](TokenId id) { return !vocab.is_control(id); });
  s->generation = generation_of(std::move(r), std::move(outlet), continues, now_us);
  return s;
}

std::unique_ptr<Generation> Input::generation_of(Request r, OutletPtr outlet, bool continues,
                                                 int64_t now_us) const {
  const uint64_t seed = r.sampling.seed ? *r.sampling.seed : draw_seed();
  auto breakers = dry_breakers(r.sampling);
  auto g = std::make_unique<Generation>(
      SamplingChain(std::move(r.sampling), std::move(breakers)),
      OutputStream(tokenizer_, r.special, continues, std::move(r.stop)), std::move(outlet));
  g->seed = seed;
  g->min_tokens = r.min_tokens;
  g->logprobs = r.logprobs;
  const std::vector<TokenId>& end_of_generation = tokenizer_.vocab().end_of_generation;
  g->banned_early = end_of_generation;
  g->banned_early.insert(g->banned_early.end(), r.stop_tokens.begin(), r.stop_tokens.end());
  sort_unique(g->banned_early);
  if (r.ignore_eos) {
    g->banned = end_of_generation;
    g->ends = std::move(r.stop_tokens);
    sort_unique(g->ends);
  } else {
    g->ends = g->banned_early;
  }
  g->prompt_logits = std::move(r.prompt_logits);
  g->next_scored = r.prompt_logits_from;
  g->pooling = r.pooling;
  g->progress = r.progress;
  g->submitted_us = now_us;
  g->begin_before_us = deadline(now_us, r.queue_timeout_ms);
  g->end_before_us = deadline(now_us, r.timeout_ms);
  return g;
}

// A token is a breaker when its text holds a whole breaker string. A string spread over tokens is
// found by the token whose end begins it and the tokenisation of the rest.
std::shared_ptr<const DryBreakers> Input::dry_breakers(const SamplingParams& params) const {
  if (params.dry_multiplier <= 0) return nullptr;
  const std::lock_guard lock(breakers_mutex_);
  if (breakers_ != nullptr && breakers_text_ == params.dry_sequence_breakers) return breakers_;
  auto out = std::make_shared<DryBreakers>();
  const int vocab = tokenizer_.vocab().size();
  out->single.resize(static_cast<size_t>(vocab));
  for (TokenId id = 0; id < vocab; ++id) {
    const std::string piece = tokenizer_.piece(id, true);
    for (const std::string& text : params.dry_sequence_breakers) {
      if (piece.find(text) != std::string::npos) {
        out->single[static_cast<size_t>(id)] = true;
        continue;
      }
      for (size_t n = 1; n < text.size(); ++n) {
        if (!std::string_view(piece).ends_with(std::string_view(text).substr(0, n))) continue;
        out->sequences[id].push_back(tokenizer_.encode(text.substr(n), {false, false}));
      }
    }
  }
  breakers_text_ = params.dry_sequence_breakers;
  breakers_ = std::move(out);
  return breakers_;
}

}  // namespace serval
