#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "serval/error.h"
#include "text/vocab_for_test.h"

namespace serval {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

VocabForTest small() {
  VocabForTest v;
  v.add_byte_alphabet();
  return v;
}

std::string error_of(const VocabForTest& v) {
  try {
    v.vocab();
  } catch (const Error& error) {
    return error.message();
  }
  return "no error";
}

TEST(Vocab, ReadsIdsAndDropsNone) {
  VocabForTest v = small();
  v.ids = {{"bos_token_id", 1}, {"eos_token_id", 2}, {"padding_token_id", UINT32_MAX}};
  const auto vocab = v.vocab();
  EXPECT_EQ(vocab->bos, 1);
  EXPECT_EQ(vocab->eos, 2);
  EXPECT_FALSE(vocab->pad.has_value());
  EXPECT_FALSE(vocab->add_bos);
}

TEST(Vocab, RefusesIdsOutsideTheTable) {
  for (const char* key : {"bos_token_id", "eos_token_id", "unknown_token_id", "seperator_token_id",
                          "fim_pre_token_id", "middle_token_id"}) {
    for (const uint32_t id : {256u, 0x7FFFFFFFu, 0x80000000u, UINT32_MAX - 1}) {
      VocabForTest v = small();
      v.ids = {{key, id}};
      EXPECT_THAT(error_of(v), HasSubstr(key)) << id;
    }
  }
}

TEST(Vocab, RefusesArraysThatDisagree) {
  VocabForTest v = small();
  v.types.pop_back();
  EXPECT_THAT(error_of(v), HasSubstr("token_type"));
  v = small();
  v.types[7] = 7;
  EXPECT_THAT(error_of(v), HasSubstr("token 7 has type 7"));
  v = small();
  v.types[7] = -1;
  EXPECT_THAT(error_of(v), HasSubstr("type -1"));
  v = small();
  v.model = "llama";
  v.scores.push_back(0);
  EXPECT_THAT(error_of(v), HasSubstr("scores"));
  v.scores.pop_back();
  v.scores[3] = std::nanf("");
  EXPECT_THAT(error_of(v), HasSubstr("scores"));
}

TEST(Vocab, RefusesUnknownModels) {
  VocabForTest v = small();
  v.model = "rwkv";
  EXPECT_THAT(error_of(v), HasSubstr("rwkv"));
}

TEST(Vocab, WarnsAboutThePreTokenizer) {
  VocabForTest v = small();
  EXPECT_TRUE(v.vocab()->warnings.empty());
  v.pre = "";
  ASSERT_EQ(v.vocab()->warnings.size(), 1u);
  EXPECT_THAT(v.vocab()->warnings[0], HasSubstr("missing"));
  v.pre = "no-such-family";
  ASSERT_EQ(v.vocab()->warnings.size(), 1u);
  EXPECT_THAT(v.vocab()->warnings[0], HasSubstr("no-such-family"));
}

TEST(Vocab, FamilyDecidesAboutBos) {
  VocabForTest v = small();
  v.ids = {{"bos_token_id", 1}};
  v.pre = "llama-bpe";
  EXPECT_TRUE(v.vocab()->add_bos);
  v.flags = {{"add_bos_token", false}};
  EXPECT_FALSE(v.vocab()->add_bos);
  v.flags.clear();
  v.pre = "glm4";
  EXPECT_FALSE(v.vocab()->bos.has_value());
  v.pre = "roberta-bpe";
  EXPECT_TRUE(v.vocab()->add_sep);
}

TEST(Vocab, ByteTokensAreSpelledStrictly) {
  EXPECT_EQ(parse_byte_token("<0x00>"), 0);
  EXPECT_EQ(parse_byte_token("<0xfF>"), 255);
  for (const char* bad :
       {"", "<0x>", "<0x0>", "<0x0G>", "<0x000>", "<0X00>", "0x00", "<0x+1>", "<0x 1>"}) {
    EXPECT_FALSE(parse_byte_token(bad).has_value()) << bad;
  }
  VocabForTest v = small();
  v.add("<0xZZ>", TokenType::kByte);
  EXPECT_THAT(error_of(v), HasSubstr("<0xHH>"));
}

TEST(Vocab, CollectsEndsByIdAndByText) {
  VocabForTest v = small();
  const TokenId eos = v.add("[stop]", TokenType::kControl);
  const TokenId turn = v.add("<|im_end|>", TokenType::kControl);
  const TokenId user = v.add("<|end|>", TokenType::kUserDefined);
  const TokenId text = v.add("</s>");  // ordinary text of a web vocabulary
  v.ids = {{"eos_token_id", static_cast<uint32_t>(eos)}};
  const auto vocab = v.vocab();
  EXPECT_THAT(vocab->end_of_generation, ElementsAre(eos, turn, user));
  EXPECT_TRUE(vocab->is_end(turn));
  EXPECT_FALSE(vocab->is_end(text));
  EXPECT_EQ(vocab->eot, turn);
}

TEST(Vocab, HarmonyMessagesDoNotEndGeneration) {
  VocabForTest v = small();
  const TokenId returns = v.add("<|return|>", TokenType::kControl);
  const TokenId end = v.add("<|end|>", TokenType::kControl);
  const TokenId call = v.add("<|call|>", TokenType::kControl);
  EXPECT_THAT(v.vocab()->end_of_generation, ElementsAre(returns, call));
  EXPECT_FALSE(v.vocab()->is_end(end));
}

}  // namespace
}  // namespace serval
