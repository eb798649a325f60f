// Every hyper-parameter of a hostile file is either accepted in range or refused in one line that
// names the key. The rows below follow the published failures of other engines: zero heads, absurd
// layer counts, wrong list lengths, values of the wrong kind.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "model/model.h"
#include "model/tiny_model.h"
#include "serval/error.h"

namespace serval {
namespace {

using Spoil = std::function<void(TinyModel&)>;

struct BadConfig {
  const char* name;
  Spoil spoil;
  ErrorCode code;
  const char* message;  // part of it
};

std::string refusal(const TinyModel& model, ErrorCode code) {
  try {
    const auto file = model.parse();
    find_architecture(*file).read_config(*file);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.message();
    EXPECT_EQ(error.message().find('\n'), std::string::npos);
    return error.message();
  }
  ADD_FAILURE() << "was accepted";
  return "";
}

class RefusedConfig : public testing::TestWithParam<BadConfig> {};

TEST_P(RefusedConfig, NamesTheKey) {
  for (const Architecture& architecture : architectures()) {
    TinyModel model{std::string(architecture.name)};
    GetParam().spoil(model);
    EXPECT_NE(refusal(model, GetParam().code).find(GetParam().message), std::string::npos)
        << refusal(model, GetParam().code);
  }
}

Spoil value(const char* key, uint32_t number) {
  return [=](TinyModel& model) { model.set(key, number); };
}
Spoil number(const char* key, double value) {
  return [=](TinyModel& model) { model.set_float(key, value); };
}
Spoil text(const char* key, const char* value) {
  return [=](TinyModel& model) { model.set_text(key, value); };
}
Spoil ints(const char* key, std::vector<int64_t> values) {
  return [=](TinyModel& model) { model.set_ints(key, values); };
}
Spoil without(const char* key) {
  return [=](TinyModel& model) { model.remove(key); };
}

constexpr auto kCorrupt = ErrorCode::kCorrupt;
constexpr auto kUnsupported = ErrorCode::kUnsupported;
const double kInfinity = std::numeric_limits<double>::infinity();

const BadConfig kBadConfigs[] = {
    {"ZeroHeads", value("attention.head_count", 0), kCorrupt, "attention.head_count is 0"},
    {"ZeroKvHeads", value("attention.head_count_kv", 0), kCorrupt, "attention.head_count_kv"},
    {"KvHeadsNotADivisor", value("attention.head_count_kv", 3), kCorrupt, "not a divisor"},
    {"MoreKvHeadsThanHeads", value("attention.head_count_kv", 8), kCorrupt, "not a divisor"},
    {"HeadsNotADivisor", value("attention.head_count", 6), kCorrupt, "attention.head_count"},
    {"HugeHeads", value("attention.head_count", 4000000000U), kCorrupt, "outside 1.."},
    {"HeadsAsText", text("attention.head_count", "4"), kCorrupt, "attention.head_count"},
    {"OddHeads", value("attention.key_length", 7), kCorrupt, "even"},
    {"ZeroKeyLength", value("attention.key_length", 0), kCorrupt, "attention.key_length"},
    {"OtherValueLength", value("attention.value_length", 16), kUnsupported, "value_length"},
    {"ZeroLayers", value("block_count", 0), kCorrupt, "block_count is 0"},
    {"HugeLayers", value("block_count", 1025), kCorrupt, "outside 1..1024"},
    {"NoLayers", without("block_count"), kCorrupt, "block_count is missing"},
    {"ZeroWidth", value("embedding_length", 0), kCorrupt, "embedding_length"},
    {"HugeWidth", value("embedding_length", 65537), kCorrupt, "embedding_length"},
    {"ZeroContext", value("context_length", 0), kCorrupt, "context_length"},
    {"NoContext", without("context_length"), kCorrupt, "context_length is missing"},
    {"NoVocabulary", without("vocab_size"), kCorrupt, "vocab_size is missing"},
    {"ZeroFeedForward", value("feed_forward_length", 0), kCorrupt, "feed_forward_length"},
    {"UnlikeLayers", ints("feed_forward_length", {64, 32}), kUnsupported, "differs"},
    {"TooFewLayerValues", ints("feed_forward_length", {64}), kCorrupt, "1 values for 2 layers"},
    {"NegativeLayerValue", ints("attention.head_count", {4, -4}), kCorrupt, "is -4"},
    {"ZeroEpsilon", number("attention.layer_norm_rms_epsilon", 0.0), kCorrupt, "epsilon is 0"},
    {"InfiniteEpsilon", number("attention.layer_norm_rms_epsilon", kInfinity), kCorrupt, "epsilon"},
    {"NoEpsilon", without("attention.layer_norm_rms_epsilon"), kCorrupt, "epsilon is missing"},
    {"OddRope", value("rope.dimension_count", 3), kCorrupt, "rope.dimension_count is odd"},
    {"WideRope", value("rope.dimension_count", 16), kCorrupt, "rope.dimension_count is 16"},
    {"ZeroBase", number("rope.freq_base", 0.0), kCorrupt, "rope.freq_base"},
    {"NanBase", number("rope.freq_base", std::nan("")), kCorrupt, "rope.freq_base"},
    {"LongRope", text("rope.scaling.type", "longrope"), kUnsupported, "longrope"},
    {"ZeroFactor",
     [](TinyModel& model) {
       model.set_text("rope.scaling.type", "yarn").set_float("rope.scaling.factor", 0.0);
     },
     kCorrupt, "rope.scaling.factor"},
    {"Experts", value("expert_count", 8), kUnsupported, "Mixtral"},
};

INSTANTIATE_TEST_SUITE_P(Config, RefusedConfig, testing::ValuesIn(kBadConfigs),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(Config, UnknownArchitectureListsTheSupported) {
  const std::string message = refusal(TinyModel("no-such"), ErrorCode::kUnsupported);
  for (const Architecture& architecture : architectures()) {
    EXPECT_NE(message.find(architecture.name), std::string::npos) << message;
  }
}

TEST(Config, EqualValuesPerLayerAreOneValue) {
  const auto file = TinyModel("llama").set_ints("attention.head_count_kv", {2, 2}).parse();
  EXPECT_EQ(find_architecture(*file).read_config(*file).kv_heads, 2);
}

TEST(Config, Gemma3AlternatesItsWindow) {
  const auto file = TinyModel("gemma3").set("attention.sliding_window", 16).parse();
  const ModelConfig config = find_architecture(*file).read_config(*file);
  EXPECT_EQ(config.sliding_period, 6);
  EXPECT_TRUE(config.layer_is_local(4));
  EXPECT_FALSE(config.layer_is_local(5));
  EXPECT_TRUE(config.layer_is_local(6));
  EXPECT_FLOAT_EQ(config.embedding_scale, std::sqrt(32.0F));
  EXPECT_DOUBLE_EQ(config.rope_local.inverse_frequency[1], std::pow(10000.0, -2.0 / 8.0));
}

TEST(Config, Gemma3PatternPerLayer) {
  const auto period = [](const std::vector<int64_t>& pattern) {
    TinyModel model("gemma3");
    model.set("attention.sliding_window", 16).set_ints("attention.sliding_window_pattern", pattern);
    const auto file = model.parse();
    return find_architecture(*file).read_config(*file).sliding_period;
  };
  EXPECT_EQ(period({1, 0}), 2);
  EXPECT_EQ(period({0, 0}), 1);
  EXPECT_EQ(period({1, 1}), 3);  // the first global layer would be the third
  EXPECT_THROW(period({0, 1}), Error);
  EXPECT_THROW(period({1, 0, 1}), Error);
}

}  // namespace
}  // namespace serval
