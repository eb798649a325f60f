#include "server/openai/fields.h"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <set>

#include "server/openai/decode.h"
#include "server/openai/json_body.h"

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
  return error ? error->param : "";
}

TEST(Fields, NoNameIsListedTwice) {
  for (const auto fields :
       {chat_fields(), completion_fields(), tokenize_fields(), detokenize_fields()}) {
    std::set<std::string_view> names;
    for (const Field& field : fields) EXPECT_TRUE(names.insert(field.name).second) << field.name;
  }
}

TEST(Fields, RefusedFieldsMayAskForNothing) {
  EXPECT_EQ(
      fault(R"({"tools": [], "response_format": {"type": "text"}, "priority": 0})", chat_fields()),
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
