#include "server/openai/fields.h"

#include <gtest/gtest.h>

#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <cmath>
#include <set>

#include "server/openai/decode.h"
#include "server/openai/json_body.h"
#include "server/openai/prompt_scores.h"

namespace serval {
namespace {

boost::json::object object(std::string_view text) {
  boost::json::object out;
  EXPECT_FALSE(parse_body(text, out)) << text;
  return out;
}

std::string fault(std::string_view text, std::span<const Field> fields) {
  std::vector<std::string> warnings;
  const auto error = check_fields(object(text), fields, warnings);
  return error && !error->message.ends_with("is missing") ? error->param : "";
}

TEST(Fields, NoNameIsListedTwice) {
  for (const auto fields :
       {chat_fields(), completion_fields(), native_completion_fields(), infill_fields(),
        embedding_fields(), tokenize_fields(), detokenize_fields()}) {
    std::set<std::string_view> names;
    for (const Field& field : fields) EXPECT_TRUE(names.insert(field.name).second) << field.name;
  }
}

TEST(Fields, RefusedFieldsMayAskForNothing) {
  EXPECT_EQ(
      fault(R"({"tools": [], "response_format": {"type": "text"}, "lora": []})", chat_fields()),
      "");
  EXPECT_EQ(fault(R"({"tools": [1]})", chat_fields()), "tools");
  EXPECT_EQ(fault(R"({"response_format": {"type": "json_object"}})", chat_fields()),
            "response_format");
}

TEST(Fields, NullIsAbsent) {
  for (const Field& field : chat_fields()) {
    EXPECT_EQ(fault("{\"" + std::string(field.name) + "\": null}", chat_fields()), "");
  }
}

TEST(Fields, EveryNumberHasItsRange) {
  for (const Field& field : completion_fields()) {
    if (field.kind != FieldKind::kInteger && field.kind != FieldKind::kNumber) continue;
    if (field.handling != Handling::kWorks) continue;
    const std::string name(field.name);
    const auto with = [&](double value) {
      boost::json::object body;
      body["prompt"] = "x";
      body[name] = value;
      std::vector<std::string> warnings;
      return check_fields(body, completion_fields(), warnings).has_value();
    };
    EXPECT_FALSE(with(field.minimum)) << name << (field.kind == FieldKind::kInteger);
    EXPECT_FALSE(with(field.maximum)) << name;
    EXPECT_TRUE(with(field.minimum - 1)) << name;
    EXPECT_TRUE(with(field.maximum + 1)) << name;
    EXPECT_TRUE(with(std::numeric_limits<double>::infinity())) << name;
    EXPECT_TRUE(with(std::numeric_limits<double>::quiet_NaN())) << name;
  }
}

TEST(Decode, SamplingGoesOverTheModelsOwn) {
  SamplingParams defaults;
  defaults.top_k = 7;
  GenerateCall call;
  const auto body = object(
      R"({"prompt": [1, 2], "temperature": 0.5, "repetition_penalty": 1.5, "seed": -5, "n": 2,
          "logit_bias": [[3, false], [4, 1.5]], "stop": "end", "user": "x"})");
  ASSERT_FALSE(decode_completion(body, defaults, call));
  EXPECT_EQ(call.base.sampling.top_k, 7);
  EXPECT_EQ(call.base.sampling.temperature, 0.5F);
  EXPECT_EQ(call.base.sampling.repeat_penalty, 1.5F);
  EXPECT_EQ(call.base.sampling.seed, static_cast<uint64_t>(-5));
  ASSERT_EQ(call.base.sampling.logit_bias.size(), 2U);
  EXPECT_TRUE(std::isinf(call.base.sampling.logit_bias[0].second));
  EXPECT_EQ(call.base.stop, std::vector<std::string>{"end"});
  EXPECT_EQ(call.base.max_tokens, 16);
  EXPECT_EQ(call.n, 2);
  EXPECT_EQ(call.warnings.size(), 1U);
}

TEST(Fields, TheSchemaAllowsWhatTheTableAllows) {
  for (const auto fields : {chat_fields(), infill_fields(), embedding_fields()}) {
    const boost::json::object schema = fields_schema(fields, {});
    const boost::json::object& properties = schema.at("properties").as_object();
    EXPECT_EQ(properties.size(), fields.size());
    for (const Field& field : fields) {
      const boost::json::object& property = properties.at(field.name).as_object();
      if (field.kind != FieldKind::kInteger || field.handling != Handling::kWorks) continue;
      EXPECT_EQ(property.at("minimum").to_number<double>(), field.minimum) << field.name;
      EXPECT_EQ(property.at("maximum").to_number<double>(), field.maximum) << field.name;
    }
  }
  const auto schema = fields_schema(completion_fields(), {});
  EXPECT_EQ(schema.at("properties").at("top_k").at("default").to_number<int>(), 40);
  EXPECT_EQ(schema.at("required").as_array(), boost::json::array{"prompt"});
}

TEST(Decode, SamplersByLetters) {
  SamplingParams params;
  EXPECT_FALSE(read_sampling(object(R"({"samplers": "ktx"})"), params));
  EXPECT_EQ(params.samplers, (std::vector<std::string>{"top_k", "temperature", "xtc"}));
  EXPECT_EQ(read_sampling(object(R"({"samplers": "kz"})"), params)->param, "samplers");
}

TEST(PromptScores, AreTheLogSoftmaxOfTheNextToken) {
  const float logits[] = {0.0F, 1.0F, 2.0F, -1.0F};
  PromptScores scores({3, 1, 2}, 2);
  scores.add(0, logits, 4);
  scores.add(1, logits, 4);
  scores.add(2, logits, 4);  // the first generated token's: not of the prompt
  const double norm = std::log(std::exp(0.0) + std::exp(1.0) + std::exp(2.0) + std::exp(-1.0));
  EXPECT_NEAR(scores.entries()[1].logprob, 1 - norm, 1e-6);
  EXPECT_NEAR(scores.entries()[2].logprob, 2 - norm, 1e-6);
  ASSERT_EQ(scores.entries()[1].top.size(), 2U);
  EXPECT_EQ(scores.entries()[1].top[0].first, 2);
  EXPECT_EQ(scores.entries()[1].top[1].first, 1);
  EXPECT_TRUE(scores.entries()[0].top.empty());
}

TEST(ParseBody, BoundsDepthAndCount) {
  boost::json::object out;
  const auto nested = [](size_t depth) {
    return "{\"a\":" + std::string(depth - 1, '[') + std::string(depth - 1, ']') + "}";
  };
  EXPECT_FALSE(parse_body(nested(kJsonDepth), out));
  EXPECT_TRUE(parse_body(nested(kJsonDepth + 1), out));
  const auto wide = [](size_t values) {
    std::string text = "{\"a\":[0";
    for (size_t i = 0; i < values; ++i) text += ",0";
    return text + "]}";
  };
  EXPECT_FALSE(parse_body(wide(kJsonValues - 3), out));
  EXPECT_TRUE(parse_body(wide(kJsonValues - 2), out));
  EXPECT_FALSE(parse_body("{\"a\":\"" + std::string(1000000, ',') + "\"}", out));
}

}  // namespace
}  // namespace serval
