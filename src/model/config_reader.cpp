// Keys and defaults: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#include "model/config_reader.h"

#include <cmath>

#include "model/rope_scaling.h"
#include "serval/error.h"

namespace serval {
namespace {

std::string shown(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%g", value);
  return text;
}

std::string outside(const std::string& value, const std::string& low, const std::string& high) {
  return "is " + value + ", outside " + low + ".." + high;
}

}  // namespace

void ConfigReader::corrupt(std::string_view key, const std::string& problem) const {
  throw Error(ErrorCode::kCorrupt, file_.path() + ": " + full(key) + " " + problem);
}

void ConfigReader::unsupported(std::string_view key, const std::string& problem) const {
  throw Error(ErrorCode::kUnsupported, file_.path() + ": " + full(key) + " " + problem);
}

int ConfigReader::integer(std::string_view key, int low, int high) const {
  const std::optional<uint64_t> value = file_.get_uint(full(key));
  if (!value) corrupt(key, "is missing");
  if (*value < static_cast<uint64_t>(low) || *value > static_cast<uint64_t>(high)) {
    corrupt(key, outside(std::to_string(*value), std::to_string(low), std::to_string(high)));
  }
  return static_cast<int>(*value);
}

int ConfigReader::integer_or(std::string_view key, int low, int high, int fallback) const {
  return has(key) ? integer(key, low, high) : fallback;
}

int ConfigReader::per_layer(std::string_view key, int low, int high, int layers) const {
  const GgufValue* value = file_.find(full(key));
  if (value == nullptr || value->type != GgufType::kArray) return integer(key, low, high);
  const std::vector<int64_t> values = file_.get_ints(full(key)).value();
  if (values.size() != static_cast<size_t>(layers)) {
    corrupt(key, "has " + std::to_string(values.size()) + " values for " + std::to_string(layers) +
                     " layers");
  }
  for (const int64_t each : values) {
    if (each < low || each > high) {
      corrupt(key, outside(std::to_string(each), std::to_string(low), std::to_string(high)));
    }
    if (each != values[0]) unsupported(key, "differs between layers, which is not supported yet");
  }
  return static_cast<int>(values[0]);
}

int ConfigReader::per_layer_or(std::string_view key, int low, int high, int layers,
                               int fallback) const {
  return has(key) ? per_layer(key, low, high, layers) : fallback;
}

double ConfigReader::number(std::string_view key, double low, double high) const {
  const std::optional<double> value = file_.get_float(full(key));
  if (!value) corrupt(key, "is missing");
  if (!(*value >= low && *value <= high)) {
    corrupt(key, outside(shown(*value), shown(low), shown(high)));
  }
  return *value;
}

double ConfigReader::number_or(std::string_view key, double low, double high,
                               double fallback) const {
  return has(key) ? number(key, low, high) : fallback;
}

std::string ConfigReader::text_or(std::string_view key, std::string fallback) const {
  return file_.get_string(full(key)).value_or(std::move(fallback));
}

namespace {

int read_vocab_size(const ConfigReader& reader) {
  const std::optional<GgufStrings> tokens = reader.file().get_strings("tokenizer.ggml.tokens");
  if (!tokens) return reader.integer("vocab_size", 1, kMaxVocab);
  if (tokens->size() == 0 || tokens->size() > static_cast<size_t>(kMaxVocab)) {
    throw Error(ErrorCode::kCorrupt, reader.file().path() + ": tokenizer.ggml.tokens has " +
                                         std::to_string(tokens->size()) + " entries, outside 1.." +
                                         std::to_string(kMaxVocab));
  }
  const int size = static_cast<int>(tokens->size());
  if (reader.integer_or("vocab_size", 1, kMaxVocab, size) != size) {
    reader.corrupt("vocab_size",
                   "is not the length of tokenizer.ggml.tokens, " + std::to_string(size));
  }
  return size;
}

void read_heads(const ConfigReader& reader, ModelConfig& config) {
  config.heads = reader.per_layer("attention.head_count", 1, kMaxHeads, config.layers);
  config.kv_heads =
      reader.per_layer_or("attention.head_count_kv", 1, kMaxHeads, config.layers, config.heads);
  if (config.heads % config.kv_heads != 0) {
    reader.corrupt("attention.head_count_kv", "is " + std::to_string(config.kv_heads) +
                                                  ", not a divisor of the " +
                                                  std::to_string(config.heads) + " heads");
  }
  if (!reader.has("attention.key_length") && config.hidden_size % config.heads != 0) {
    reader.corrupt("attention.head_count", "is " + std::to_string(config.heads) +
                                               ", not a divisor of embedding_length " +
                                               std::to_string(config.hidden_size));
  }
  config.head_dim =
      reader.integer_or("attention.key_length", 1, kMaxHeadDim, config.hidden_size / config.heads);
  if (config.head_dim % 2 != 0 || config.head_dim > kMaxHeadDim) {
    reader.corrupt("attention.key_length", "(heads of " + std::to_string(config.head_dim) +
                                               " dimensions) must be even and at most " +
                                               std::to_string(kMaxHeadDim));
  }
  if (config.heads * config.head_dim > kMaxQueryWidth) {
    reader.corrupt("attention.head_count",
                   "times the head size is above " + std::to_string(kMaxQueryWidth));
  }
  const int value_length =
      reader.integer_or("attention.value_length", 1, kMaxHeadDim, config.head_dim);
  if (value_length != config.head_dim) {
    reader.unsupported("attention.value_length",
                       "differs from the key length, which is not supported yet");
  }
}

}  // namespace

ModelConfig read_decoder_config(const GgufFile& file, std::string_view architecture,
                                RopeStyle style) {
  const ConfigReader reader(file, architecture);
  ModelConfig config;
  config.architecture = architecture;
  config.name = file.get_string("general.name").value_or("");
  if (reader.integer_or("expert_count", 0, kMaxHidden, 0) > 0) {
    reader.unsupported("expert_count", "is set: mixture-of-experts models of architecture " +
                                           config.architecture +
                                           " (such as Mixtral) are not supported yet");
  }
  if (!file.get_bool(config.architecture + ".attention.causal").value_or(true)) {
    reader.unsupported("attention.causal", "is false: encoders are not supported yet");
  }
  config.vocab_size = read_vocab_size(reader);
  config.context_length = reader.integer("context_length", 1, kMaxContext);
  config.hidden_size = reader.integer("embedding_length", 1, kMaxHidden);
  config.layers = reader.integer("block_count", 1, kMaxLayers);
  config.feed_forward = reader.per_layer("feed_forward_length", 1, kMaxFeedForward, config.layers);
  read_heads(reader, config);
  config.norm_epsilon =
      static_cast<float>(reader.number("attention.layer_norm_rms_epsilon", 1e-12, 1.0));
  config.attention_scale =
      static_cast<float>(1.0 / std::sqrt(static_cast<double>(config.head_dim)));
  config.rope = read_rope(reader, config, style);
  return config;
}

}  // namespace serval
