// The tables: every field that clients are known to send, with the decision what becomes of it.
// They validate requests and they are the schema that GET /openapi.json shows; there is no third
// list. A field that no table names is refused as unknown.
#include <boost/json/value.hpp>
#include <iterator>

#include "sampling/processors.h"
#include "server/openai/fields.h"

namespace serval {
namespace {

namespace json = boost::json;
using K = FieldKind;
using H = Handling;

constexpr double kAnyInt = 2147483647;
constexpr double kLongName = 256;
constexpr double kLongText = 8 * 1024 * 1024;

// ---- Values that ask for nothing

bool is_empty(const json::value& v) {
  return (v.is_array() && v.get_array().empty()) || (v.is_object() && v.get_object().empty()) ||
         (v.is_string() && v.get_string().empty());
}
bool is_false(const json::value& v) { return v.is_bool() && !v.get_bool(); }
bool is_true(const json::value& v) { return v.is_bool() && v.get_bool(); }
bool is_number(const json::value& v, double wanted) {
  return v.is_number() && v.to_number<double>() == wanted;
}
bool is_zero(const json::value& v) { return is_number(v, 0); }
bool is_one(const json::value& v) { return is_number(v, 1); }
bool is_zero_or_less(const json::value& v) { return v.is_number() && v.to_number<double>() <= 0; }
bool is_text_format(const json::value& v) {
  if (!v.is_object()) return false;
  const json::value* type = v.get_object().if_contains("type");
  return v.get_object().size() == 1 && type != nullptr && type->is_string() &&
         type->get_string() == "text";
}
bool is_no_tool(const json::value& v) {
  return v.is_string() && (v.get_string() == "none" || v.get_string() == "auto");
}
bool is_text_modality(const json::value& v) {
  return v.is_array() && v.get_array().size() == 1 && v.get_array()[0].is_string() &&
         v.get_array()[0].get_string() == "text";
}
bool is_no_reasoning(const json::value& v) {
  return v.is_string() && (v.get_string() == "none" || v.get_string() == "auto");
}

// ---- Schemas of values with structure

constexpr std::string_view kTokens =
    R"({"type": "array", "items": {"type": "integer", "minimum": 0}})";
constexpr std::string_view kPromptSchema =
    R"({"oneOf": [{"type": "string"},
                  {"type": "array", "minItems": 1, "items": {"type": "string"}},
                  {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 0}},
                  {"type": "array", "minItems": 1, "items":
                    {"type": "array", "items": {"type": "integer", "minimum": 0}}}]})";
constexpr std::string_view kNativePromptSchema =
    R"({"description": "A text; a list that mixes texts and token ids, together one prompt; or a list of such prompts.",
        "oneOf": [{"type": "string"}, {"type": "array", "minItems": 1}]})";
constexpr std::string_view kBiasSchema =
    R"({"oneOf": [{"type": "object", "additionalProperties":
                    {"type": "number", "minimum": -100, "maximum": 100}},
                  {"type": "array", "items":
                    {"type": "array", "minItems": 2, "maxItems": 2}}]})";
constexpr std::string_view kSeedSchema = R"({"type": "integer"})";
constexpr std::string_view kMessagesSchema =
    R"({"type": "array", "minItems": 1, "items": {"type": "object", "required": ["role"], "properties": {
          "role": {"enum": ["system", "developer", "user", "assistant", "tool"]},
          "content": {"oneOf": [{"type": "string"}, {"type": "null"},
            {"type": "array", "items": {"type": "object", "required": ["type", "text"], "properties": {
              "type": {"const": "text"}, "text": {"type": "string"}}}}]},
          "name": {"type": "string"}, "tool_call_id": {"type": "string"},
          "reasoning_content": {"type": "string"}, "tool_calls": {"type": "array"}}}})";
constexpr std::string_view kExtraSchema =
    R"({"type": "array", "items": {"type": "object", "required": ["text"], "properties":
         {"filename": {"type": "string"}, "text": {"type": "string"}}}})";

// ---- Rows that several endpoints share

constexpr Field kModel = {"model", K::kString, H::kWorks,
                          0,       kLongName,  "must name the served model when given"};

// Every endpoint that generates text.
constexpr Field kGenerationFields[] = {
    kModel,
    {"stop", K::kStrings, H::kWorks, 0, 16, "texts that end the answer, of at most 256 bytes",
     nullptr, "[]"},
    {"seed", K::kAny, H::kWorks, 0, 0, "same seed, same text; -1: any", nullptr, "-1", kSeedSchema},
    {"stream", K::kBool, H::kWorks, 0, 0, "server-sent events", nullptr, "false"},
    {"logit_bias", K::kAny, H::kWorks, 0, 0,
     "added to logits, by token id; false in a pair bans the token", nullptr, "{}", kBiasSchema},
    {"dry_sequence_breakers", K::kStrings, H::kWorks, 0, 64, "texts that end a repetition for DRY",
     nullptr, R"(["\n", ":", "\"", "*"])"},
    {"samplers", K::kStrings, H::kWorks, 0, 32,
     "order of the sampling chain, by name; or one text of letters from edskypmxt"},
    {"min_tokens", K::kInteger, H::kWorks, 0, kAnyInt, "the answer does not end earlier", nullptr,
     "0"},
    {"ignore_eos", K::kBool, H::kWorks, 0, 0, "go on after end-of-text tokens", nullptr, "false"},
    {"stop_token_ids", K::kList, H::kWorks, 0, 256, "tokens that end the answer", nullptr, "[]",
     kTokens},
    {"cache_prompt", K::kBool, H::kWorks, 0, 0, "reuse keys and values of earlier requests",
     nullptr, "true"},
    {"cache_salt", K::kString, H::kWorks, 0, kLongName,
     "share cached keys and values only with requests that name the same", nullptr, "\"\""},
    {"priority", K::kInteger, H::kWorks, -100, 100, "higher is admitted and computed first",
     nullptr, "0"},
    {"return_progress", K::kBool, H::kWorks, 0, 0,
     "streams: chunks with prompt_progress while the prompt is computed", nullptr, "false"},
    {"timings_per_token", K::kBool, H::kWorks, 0, 0, "streams: timings in every chunk", nullptr,
     "false"},
    {"skip_special_tokens", K::kBool, H::kWorks, 0, 0, "false: show control tokens in the text",
     nullptr, "true"},
    {"user", K::kAny, H::kIgnored, 0, 0, "", is_empty},
    {"metadata", K::kAny, H::kIgnored, 0, 0, "", is_empty},
    {"id_slot", K::kInteger, H::kIgnored, -1, kAnyInt, "any sequence may reuse any cached prefix",
     is_zero_or_less},
    {"n_keep", K::kInteger, H::kRefused, 0, 0, "the context is never shifted", is_zero_or_less},
    {"n_discard", K::kInteger, H::kRefused, 0, 0, "the context is never shifted", is_zero},
    {"n_indent", K::kInteger, H::kRefused, 0, 0, "", is_zero},
    {"dynatemp_range", K::kNumber, H::kRefused, 0, 0, "", is_zero},
    {"dynatemp_exponent", K::kNumber, H::kRefused, 0, 0, "", is_one},
    {"bad_words", K::kList, H::kRefused, 0, 0, "", is_empty},
    {"lora", K::kList, H::kRefused, 0, 0, "", is_empty},
    {"grammar", K::kString, H::kRefused, 0, 0, "", is_empty},
    {"json_schema", K::kAny, H::kRefused, 0, 0, "", is_empty},
    {"t_max_predict_ms", K::kInteger, H::kRefused, 0, 0, "", is_zero_or_less},
    {"response_fields", K::kList, H::kRefused, 0, 0, "", is_empty},
};

// OpenAI's two, and what vLLM's and SGLang's clients add to them.
constexpr Field kOpenAiFields[] = {
    {"max_tokens", K::kInteger, H::kWorks, -1, kAnyInt,
     "tokens to generate; -1: what the context holds"},
    {"n_predict", K::kInteger, H::kWorks, -1, kAnyInt, "same as max_tokens"},
    {"n", K::kInteger, H::kWorks, 1, 8, "choices", nullptr, "1"},
    {"stream_options",
     K::kObject,
     H::kWorks,
     0,
     0,
     "include_usage: a last chunk with the usage",
     nullptr,
     {},
     R"({"type": "object", "properties": {"include_usage": {"type": "boolean"},
                      "include_obfuscation": {"type": "boolean"}}, "additionalProperties": false})"},
    {"repetition_penalty", K::kNumber, H::kWorks, 0.001, 1000, "same as repeat_penalty"},
    {"store", K::kBool, H::kIgnored, 0, 0, "", is_false},
    {"service_tier", K::kString, H::kIgnored, 0, kLongName, ""},
    {"prompt_cache_key", K::kString, H::kIgnored, 0, kLongText, "", is_empty},
    {"prompt_cache_retention", K::kString, H::kIgnored, 0, kLongName, ""},
    {"safety_identifier", K::kString, H::kIgnored, 0, kLongText, "", is_empty},
    {"return_tokens", K::kBool, H::kRefused, 0, 0, "", is_false},
    {"return_token_ids", K::kBool, H::kRefused, 0, 0, "", is_false},
    {"include_stop_str_in_output", K::kBool, H::kRefused, 0, 0, "", is_false},
    {"spaces_between_special_tokens", K::kBool, H::kRefused, 0, 0, "", is_true},
    {"use_beam_search", K::kBool, H::kRefused, 0, 0, "", is_false},
    {"length_penalty", K::kNumber, H::kRefused, 0, 0, "", is_one},
    {"allowed_token_ids", K::kList, H::kRefused, 0, 0, "", is_empty},
    {"prompt_logprobs", K::kInteger, H::kRefused, 0, 0, "completions have echo and logprobs"},
    {"truncate_prompt_tokens", K::kInteger, H::kRefused, 0, 0, "", is_zero_or_less},
    {"structured_outputs", K::kAny, H::kRefused, 0, 0, "", is_empty},
    {"guided_json", K::kAny, H::kRefused, 0, 0, "", is_empty},
    {"guided_regex", K::kString, H::kRefused, 0, 0, "", is_empty},
    {"guided_choice", K::kList, H::kRefused, 0, 0, "", is_empty},
    {"guided_grammar", K::kString, H::kRefused, 0, 0, "", is_empty},
    {"response_format", K::kAny, H::kRefused, 0, 0, "", is_text_format},
};

constexpr Field kChatOnly[] = {
    {"messages",
     K::kList,
     H::kWorks,
     1,
     100000,
     "the conversation",
     nullptr,
     {},
     kMessagesSchema,
     true},
    {"max_completion_tokens", K::kInteger, H::kWorks, -1, kAnyInt, "same as max_tokens"},
    {"logprobs", K::kBool, H::kWorks, 0, 0, "report the log-probability of every token", nullptr,
     "false"},
    {"top_logprobs", K::kInteger, H::kWorks, 0, 20, "and of the likeliest others", nullptr, "0"},
    {"add_generation_prompt", K::kBool, H::kWorks, 0, 0, "end the prompt with the answer's begin",
     nullptr, "true"},
    {"reasoning_effort", K::kString, H::kIgnored, 0, kLongName, ""},
    {"verbosity", K::kString, H::kIgnored, 0, kLongName, ""},
    {"parallel_tool_calls", K::kBool, H::kIgnored, 0, 0, ""},
    {"modalities", K::kList, H::kRefused, 0, 0, "", is_text_modality},
    {"tools", K::kList, H::kRefused, 0, 0, "", is_empty},
    {"tool_choice", K::kAny, H::kRefused, 0, 0, "", is_no_tool},
    {"functions", K::kList, H::kRefused, 0, 0, "", is_empty},
    {"function_call", K::kAny, H::kRefused, 0, 0, "", is_no_tool},
    {"audio", K::kAny, H::kRefused, 0, 0, ""},
    {"prediction", K::kAny, H::kRefused, 0, 0, ""},
    {"web_search_options", K::kAny, H::kRefused, 0, 0, ""},
    {"continue_final_message", K::kBool, H::kRefused, 0, 0, "", is_false},
    {"chat_template", K::kString, H::kRefused, 0, 0, ""},
    {"chat_template_kwargs", K::kObject, H::kRefused, 0, 0, "", is_empty},
    {"enable_thinking", K::kBool, H::kRefused, 0, 0, "", is_false},
    {"reasoning_format", K::kString, H::kRefused, 0, 0, "", is_no_reasoning},
    {"thinking_budget", K::kInteger, H::kRefused, 0, 0, "", is_zero_or_less},
};

constexpr Field kCompletionOnly[] = {
    {"prompt",
     K::kAny,
     H::kWorks,
     0,
     0,
     "text, token ids, or a list of either",
     nullptr,
     {},
     kPromptSchema,
     true},
    {"suffix", K::kString, H::kWorks, 0, kLongText,
     "text after the answer; needs a model with fill-in-the-middle tokens", is_empty},
    {"echo", K::kBool, H::kWorks, 0, 0,
     "repeat the prompt before the answer; with logprobs also its log-probabilities", nullptr,
     "false"},
    {"logprobs", K::kInteger, H::kWorks, 0, 20, "log-probabilities of so many likeliest tokens"},
    {"best_of", K::kInteger, H::kWorks, 1, 8, "must equal n"},
    {"parse_special", K::kBool, H::kWorks, 0, 0, "control tokens may be written in the prompt",
     nullptr, "false"},
    {"add_special", K::kBool, H::kWorks, 0, 0, "begin the prompt as the model expects", nullptr,
     "true"},
};

// llama-server's own dialect.
constexpr Field kNativeShared[] = {
    {"n_predict", K::kInteger, H::kWorks, -1, kAnyInt,
     "tokens to generate; -1: what the context holds", nullptr, "-1"},
    {"max_tokens", K::kInteger, H::kWorks, -1, kAnyInt, "same as n_predict"},
    {"n_probs", K::kInteger, H::kWorks, 0, 20,
     "log-probabilities of so many likeliest tokens, in completion_probabilities", nullptr, "0"},
    {"return_tokens", K::kBool, H::kWorks, 0, 0, "the answer's token ids too", nullptr, "false"},
    {"post_sampling_probs", K::kBool, H::kRefused, 0, 0, "", is_false},
};
constexpr Field kNativeOnly[] = {
    {"prompt",
     K::kAny,
     H::kWorks,
     0,
     0,
     "what to continue; control tokens are recognised",
     nullptr,
     {},
     kNativePromptSchema,
     true},
    {"image_data", K::kList, H::kRefused, 0, 0, "", is_empty},
};
constexpr Field kInfillOnly[] = {
    {"input_prefix", K::kString, H::kWorks, 0, kLongText, "text before the cursor", nullptr,
     "\"\""},
    {"input_suffix", K::kString, H::kWorks, 0, kLongText, "text after the cursor", nullptr, "\"\""},
    {"input_extra", K::kList, H::kWorks, 0, 1024,
     "other files' texts; the first are left out when the context is too short for all", nullptr,
     "[]", kExtraSchema},
    {"prompt", K::kString, H::kWorks, 0, kLongText, "begin of the text to fill in", nullptr,
     "\"\""},
};

constexpr Field kEmbeddingFields[] = {
    kModel,
    {"input",
     K::kAny,
     H::kWorks,
     0,
     0,
     "text, token ids, or a list of at most 2048 of either",
     nullptr,
     {},
     kPromptSchema,
     true},
    {"encoding_format", K::kString, H::kWorks, 0, kLongName,
     "base64: the vector's little-endian 32-bit floats", nullptr, "\"float\"",
     R"({"enum": ["float", "base64"]})"},
    {"dimensions", K::kInteger, H::kWorks, 1, kAnyInt,
     "keep the vector's first so many values, at most all; for models trained for it"},
    {"pooling", K::kString, H::kWorks, 0, kLongName, "how the tokens' vectors become one", nullptr,
     "\"mean\"", R"({"enum": ["mean", "last", "cls"]})"},
    {"normalize", K::kBool, H::kWorks, 0, 0, "scale the vector to length 1", nullptr, "true"},
    {"add_special", K::kBool, H::kWorks, 0, 0, "begin the text as the model expects", nullptr,
     "true"},
    {"priority", K::kInteger, H::kWorks, -100, 100, "higher is admitted and computed first",
     nullptr, "0"},
    {"cache_salt", K::kString, H::kWorks, 0, kLongName,
     "share cached keys and values only with requests that name the same", nullptr, "\"\""},
    {"user", K::kAny, H::kIgnored, 0, 0, "", is_empty},
    {"metadata", K::kAny, H::kIgnored, 0, 0, "", is_empty},
    {"truncate_prompt_tokens", K::kInteger, H::kRefused, 0, 0, "", is_zero_or_less},
};

constexpr Field kTokenizeFields[] = {
    kModel,
    {"content", K::kString, H::kWorks, 0, kLongText, "the text"},
    {"prompt", K::kString, H::kWorks, 0, kLongText, "same as content"},
    {"messages",
     K::kList,
     H::kWorks,
     1,
     100000,
     "a chat instead of a text",
     nullptr,
     {},
     kMessagesSchema},
    {"add_generation_prompt", K::kBool, H::kWorks, 0, 0, "end the prompt with the answer's begin",
     nullptr, "true"},
    {"add_special", K::kBool, H::kWorks, 0, 0, "begin as the model expects", nullptr, "false"},
    {"parse_special", K::kBool, H::kWorks, 0, 0, "recognise control tokens", nullptr, "true"},
    {"with_pieces", K::kBool, H::kWorks, 0, 0, "the text of every token, too", nullptr, "false"},
    {"tools", K::kList, H::kRefused, 0, 0, "", is_empty},
};

constexpr Field kDetokenizeFields[] = {
    kModel,
    {"tokens", K::kList, H::kWorks, 0, 200000, "token ids", nullptr, {}, kTokens, true},
};

// ---- Tables made of them

void add_sampling(std::vector<Field>& fields) {
  const auto add = [&](const Parameter& p) {
    fields.push_back(
        {p.name, p.integer ? K::kInteger : K::kNumber, H::kWorks, p.minimum, p.maximum, p.meaning});
  };
  for (const Processor& processor : processors()) {
    for (const Parameter& parameter : processor.parameters) add(parameter);
  }
  for (const Parameter& parameter : general_parameters()) add(parameter);
}

std::vector<Field> generation_table(std::span<const Field> dialect, std::span<const Field> own) {
  std::vector<Field> all(std::begin(kGenerationFields), std::end(kGenerationFields));
  all.insert(all.end(), dialect.begin(), dialect.end());
  all.insert(all.end(), own.begin(), own.end());
  add_sampling(all);
  return all;
}

}  // namespace

std::span<const Field> chat_fields() {
  static const std::vector<Field> fields = generation_table(kOpenAiFields, kChatOnly);
  return fields;
}
std::span<const Field> completion_fields() {
  static const std::vector<Field> fields = generation_table(kOpenAiFields, kCompletionOnly);
  return fields;
}
std::span<const Field> native_completion_fields() {
  static const std::vector<Field> fields = generation_table(kNativeShared, kNativeOnly);
  return fields;
}
std::span<const Field> infill_fields() {
  static const std::vector<Field> fields = generation_table(kNativeShared, kInfillOnly);
  return fields;
}
std::span<const Field> embedding_fields() { return kEmbeddingFields; }
std::span<const Field> tokenize_fields() { return kTokenizeFields; }
std::span<const Field> detokenize_fields() { return kDetokenizeFields; }

}  // namespace serval
