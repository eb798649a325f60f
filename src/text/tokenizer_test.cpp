// Special tokens, trust, the families' own rules and the detokenizer on vocabularies small enough
// to work out by hand. Ids on real models are compared with independent programs in
// tests/tokenizers.
#include "text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "base/utf8.h"
#include "text/vocab_for_test.h"

namespace serval {
namespace {

using testing::ElementsAre;

constexpr EncodeOptions kPlain = {.parse_special = false, .add_special = false};
constexpr EncodeOptions kSpecial = {.parse_special = true, .add_special = false};

struct ByteLevel {
  VocabForTest v;
  TokenId ab, abc, start, started, tool;
  std::unique_ptr<Tokenizer> tokenizer;

  explicit ByteLevel(const std::string& pre = "gpt-2") {
    v.pre = pre;
    v.add_byte_alphabet();
    v.add_merge("a", "b");
    ab = static_cast<TokenId>(v.tokens.size() - 1);
    v.add_merge("ab", "c");
    abc = static_cast<TokenId>(v.tokens.size() - 1);
    start = v.add("<|a|>", TokenType::kControl);
    started = v.add("<|a|>b", TokenType::kControl);
    tool = v.add("<t>", TokenType::kUserDefined);
    v.ids = {{"bos_token_id", static_cast<uint32_t>(start)}, {"eos_token_id", 0}};
    tokenizer = v.tokenizer();
  }
};

TEST(ByteBpe, MergesByRankAndOnlyInsideWords) {
  const ByteLevel t;
  EXPECT_THAT(t.tokenizer->encode("abcab", kPlain), ElementsAre(t.abc, t.ab));
  EXPECT_THAT(t.tokenizer->encode("a b", kPlain), ElementsAre('a', ' ', 'b'));
  EXPECT_THAT(t.tokenizer->encode("", kPlain), ElementsAre());
}

TEST(ByteBpe, AWordThatIsATokenNeedsItsMerges) {
  VocabForTest v;
  v.add_byte_alphabet();
  const TokenId xyz = v.add("xyz");  // no merge leads here
  EXPECT_THAT(v.tokenizer()->encode("xyz", kPlain), ElementsAre('x', 'y', 'z'));
  v.pre = "llama-bpe";  // but this family takes whole words first
  v.merges = {"a b"};
  EXPECT_THAT(v.tokenizer()->encode("xyz", kPlain), ElementsAre(xyz));
}

TEST(ByteBpe, WithoutMergesTheLowerIdWins) {
  VocabForTest v;
  v.pre = "kimi-k2";
  v.add_byte_alphabet();
  const TokenId bc = v.add("bc");
  const TokenId ab = v.add("ab");
  const auto tokenizer = v.tokenizer();
  EXPECT_THAT(tokenizer->encode("abc", kPlain), ElementsAre('a', bc));
  EXPECT_THAT(tokenizer->encode("abd", kPlain), ElementsAre(ab, 'd'));
}

TEST(Special, ControlTokensNeedTrustUserDefinedOnesDoNot) {
  const ByteLevel t;
  EXPECT_THAT(t.tokenizer->encode("<|a|>", kSpecial), ElementsAre(t.start));
  EXPECT_THAT(t.tokenizer->encode("<|a|>", kPlain), ElementsAre('<', '|', 'a', '|', '>'));
  EXPECT_THAT(t.tokenizer->encode("x<t>", kPlain), ElementsAre('x', t.tool));
}

TEST(Special, LongestWins) {
  const ByteLevel t;
  EXPECT_THAT(t.tokenizer->encode("<|a|>bc", kSpecial), ElementsAre(t.started, 'c'));
  EXPECT_THAT(t.tokenizer->encode("<|a|><|a|>", kSpecial), ElementsAre(t.start, t.start));
}

TEST(Special, EveryCharacterMustBeTrusted) {
  const ByteLevel t;
  const auto encode = [&](const std::vector<TextRun>& runs) {
    return t.tokenizer->encode(runs, false);
  };
  EXPECT_THAT(encode({{"<|a", true}, {"|>", true}}), ElementsAre(t.start));
  EXPECT_THAT(encode({{"<|a", true}, {"|>", false}}), ElementsAre('<', '|', 'a', '|', '>'));
  EXPECT_THAT(encode({{"<", false}, {"|a|>", true}}), ElementsAre('<', '|', 'a', '|', '>'));
  // The longer token is not all trusted, the shorter one is.
  EXPECT_THAT(encode({{"<|a|>", true}, {"b", false}}), ElementsAre(t.start, 'b'));
  EXPECT_THAT(encode({{"", true}, {"<|a|>", false}, {"", true}}),
              ElementsAre('<', '|', 'a', '|', '>'));
}

TEST(Special, RunsAreOneText) {
  const ByteLevel t;
  const std::vector<TextRun> runs = {{"a", true}, {"b", false}, {"c", true}};
  EXPECT_THAT(t.tokenizer->encode(runs, false), ElementsAre(t.abc));
}

TEST(Special, BosAndEosWhereTheVocabularySaysSo) {
  ByteLevel t;
  EXPECT_THAT(t.tokenizer->encode("x"), ElementsAre('x'));
  t.v.flags = {{"add_bos_token", true}, {"add_eos_token", true}};
  EXPECT_THAT(t.v.tokenizer()->encode("x"), ElementsAre(t.start, 'x', 0));
}

// Whatever the text, no control token comes out unless asked for.
TEST(Special, PlainTextNeverBecomesControl) {
  const ByteLevel t;
  std::mt19937 random(7);
  const std::vector<std::string> parts = {"<|a|>", "<|a|>b", "<t>",  "<|", "a",
                                          "|>",    " ",      "\xFF", "é"};
  for (int round = 0; round < 500; ++round) {
    std::string text;
    for (int i = 0; i < 12; ++i) text += parts[random() % parts.size()];
    const auto ids = t.tokenizer->encode(text, kPlain);
    for (const TokenId id : ids) EXPECT_FALSE(t.tokenizer->vocab().is_control(id)) << text;
    EXPECT_EQ(t.tokenizer->decode(ids, false), text);
  }
}

TEST(ByteBpe, DecodingGivesAnyBytesBackInEveryFamily) {
  std::mt19937 random(11);
  for (const char* pre : {"default",        "gpt-2",       "smollm", "llama-bpe", "qwen2",
                          "qwen35",         "gpt-4o",      "tekken", "kimi-k2",   "deepseek-llm",
                          "deepseek-coder", "deepseek-v3", "falcon", "bloom",     "viking",
                          "superbpe",       "tiny_aya",    "afmoe",  "minicpm5",  "seed-coder"}) {
    const ByteLevel t(pre);
    for (int round = 0; round < 200; ++round) {
      std::string text;
      for (size_t n = random() % 40; n > 0; --n) {
        text += random() % 3 == 0 ? static_cast<char>(random() & 0xFF) : "ab c1'\n."[random() % 9];
      }
      EXPECT_EQ(t.tokenizer->decode(t.tokenizer->encode(text, kPlain), false), text) << pre;
    }
  }
}

// One long word: the heap and the small array must agree, and take linear time together.
TEST(ByteBpe, LongWordsMergeAsShortOnesDo) {
  VocabForTest v;
  v.add_byte_alphabet();
  v.add_merge("a", "a");
  v.add_merge("aa", "aa");
  v.add_merge("b", "a");
  const auto tokenizer = v.tokenizer();
  const TokenId a2 = 256, a4 = 257;
  EXPECT_THAT(tokenizer->encode("aaaaaaa", kPlain), ElementsAre(a4, a2, 'a'));
  const auto ids = tokenizer->encode(std::string(4003, 'a'), kPlain);
  ASSERT_EQ(ids.size(), 1002u);
  EXPECT_TRUE(std::all_of(ids.begin(), ids.begin() + 1000, [&](TokenId id) { return id == a4; }));
  EXPECT_EQ(ids[1000], a2);
  EXPECT_EQ(ids[1001], 'a');
}

VocabForTest sentencepiece(bool prefix) {
  VocabForTest v;
  v.model = "llama";
  v.pre = "";
  v.add("<unk>", TokenType::kUnknown);
  v.add("<s>", TokenType::kControl);
  v.add_byte_tokens();  // 2 + byte
  v.add("▁", TokenType::kNormal, -1);
  v.add("a", TokenType::kNormal, -2);   // 259
  v.add("b", TokenType::kNormal, -3);   // 260
  v.add("▁a", TokenType::kNormal, -4);  // 261
  v.add("ab", TokenType::kNormal, -3.5);
  v.add("▁ab", TokenType::kNormal, -9);  // 263
  v.add("<u>", TokenType::kUserDefined);
  v.add("  ", TokenType::kUserDefined);
  v.ids = {{"bos_token_id", 1}, {"unknown_token_id", 0}};
  v.flags = {{"add_space_prefix", prefix}};
  return v;
}

TEST(SentencePiece, HigherScoresMergeFirst) {
  const auto tokenizer = sentencepiece(false).tokenizer();
  EXPECT_THAT(tokenizer->encode(" ab", kPlain), ElementsAre(263));
  EXPECT_THAT(tokenizer->encode(" aab", kPlain), ElementsAre(261, 262));
  EXPECT_THAT(tokenizer->encode("ab"), ElementsAre(1, 262));
}

TEST(SentencePiece, SpacePrefixComesAndGoes) {
  const auto tokenizer = sentencepiece(true).tokenizer();
  EXPECT_THAT(tokenizer->encode("ab", kPlain), ElementsAre(263));
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("ab", kPlain), false), "ab");
  EXPECT_THAT(tokenizer->encode("a<s>a", kSpecial), ElementsAre(261, 1, 261));
}

TEST(SentencePiece, BytesForCharactersWithoutAPiece) {
  const auto tokenizer = sentencepiece(false).tokenizer();
  EXPECT_THAT(tokenizer->encode("é", kPlain), ElementsAre(2 + 0xC3, 2 + 0xA9));
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("aé\n b", kPlain), false), "aé\n b");
}

TEST(SentencePiece, UserDefinedPiecesAreCutOutFirst) {
  const auto tokenizer = sentencepiece(false).tokenizer();
  EXPECT_THAT(tokenizer->encode("a<u>b", kPlain), ElementsAre(259, 264, 260));
  EXPECT_THAT(tokenizer->encode("a   b", kPlain), ElementsAre(259, 265, 258, 260));
  EXPECT_THAT(tokenizer->encode("<s>", kPlain), testing::Not(testing::Contains(1)));
}

TEST(SentencePiece, UnusedPiecesFallApart) {
  VocabForTest v = sentencepiece(false);
  v.types[262] = static_cast<int32_t>(TokenType::kUnused);  // "ab"
  EXPECT_THAT(v.tokenizer()->encode("ab", kPlain), ElementsAre(259, 260));
  EXPECT_THAT(v.tokenizer()->encode(" ab", kPlain), ElementsAre(263));
}

TEST(Gemma4, MergesByRankOverEscapedSpaces) {
  VocabForTest v;
  v.model = "gemma4";
  v.pre = "";
  for (const char* text : {"▁", "a", "b"}) v.add(text);
  v.add_byte_tokens();  // 3 + byte
  v.merges = {"a b", "▁ a"};
  const TokenId ab = v.add("ab");
  const TokenId space_a = v.add("▁a");
  const auto tokenizer = v.tokenizer();
  EXPECT_THAT(tokenizer->encode(" ab aé", kPlain), ElementsAre(0, ab, space_a, 3 + 0xC3, 3 + 0xA9));
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(" ab aé", kPlain), false), " ab aé");
}

TEST(WordPiece, BothWritingsOfContinuations) {
  for (const bool hashes : {true, false}) {
    VocabForTest v;
    v.model = "bert";
    v.pre = "";
    v.add("[UNK]", TokenType::kUnknown);
    v.add("[CLS]", TokenType::kControl);
    v.add("[SEP]", TokenType::kControl);
    const std::string start = hashes ? "" : "▁";
    const std::string inner = hashes ? "##" : "";
    for (const char* word : {"un", "aff", "able", ",", "cafe"}) v.add(start + word);  // 3..7
    for (const char* part : {"aff", "able"}) v.add(inner + part);                     // 8, 9
    v.ids = {{"unknown_token_id", 0}, {"cls_token_id", 1}, {"seperator_token_id", 2}};
    const auto tokenizer = v.tokenizer();
    EXPECT_THAT(tokenizer->encode("UnaffABLE, Café qq"), ElementsAre(1, 3, 8, 9, 6, 7, 0, 2));
    EXPECT_EQ(tokenizer->decode(tokenizer->encode("unaffable cafe"), false), "unaffable cafe");
  }
}

TEST(Detokenizer, HoldsBackHalfCharacters) {
  const ByteLevel t;
  Detokenizer detokenizer(*t.tokenizer);
  const std::string text = "é€😀x";
  std::string seen;
  for (const char c : text) {
    const std::string out = detokenizer.push(static_cast<unsigned char>(c));
    EXPECT_TRUE(is_valid_utf8(out));
    seen += out;
  }
  EXPECT_EQ(seen, text);
  EXPECT_EQ(detokenizer.finish(), "");
  EXPECT_EQ(detokenizer.push(0xE2), "");
  EXPECT_EQ(detokenizer.push(0x82), "");
  EXPECT_EQ(detokenizer.push('x'), "\uFFFDx");
  EXPECT_EQ(detokenizer.push(0xF0), "");
  EXPECT_EQ(detokenizer.finish(), "\uFFFD");
}

TEST(Detokenizer, AContinuationKeepsItsFirstSpace) {
  const auto tokenizer = sentencepiece(true).tokenizer();
  const std::vector<TokenId> prompt = {263};  // "▁ab"
  const std::vector<TokenId> both = {263, 263};
  Detokenizer detokenizer(*tokenizer, false, true);
  EXPECT_EQ(tokenizer->decode(prompt, false) + detokenizer.push(263),
            tokenizer->decode(both, false));
  EXPECT_EQ(Detokenizer(*tokenizer).push(263), "ab");
}

TEST(Detokenizer, StreamingEqualsReplacingAtOnce) {
  const ByteLevel t;
  std::mt19937 random(3);
  const int bytes[] = {'a',  0x80, 0xBF, 0xC0, 0xC3, 0xE0, 0xA0, 0xE2, 0x82, 0xAC,
                       0xED, 0x9F, 0xF0, 0x90, 0xF4, 0x8F, 0xF5, 0xFF, t.ab, t.start};
  for (int round = 0; round < 20000; ++round) {
    Detokenizer detokenizer(*t.tokenizer, true);
    std::vector<TokenId> ids;
    std::string streamed;
    for (size_t n = random() % 8; n > 0; --n) {
      ids.push_back(bytes[random() % std::size(bytes)]);
      const std::string out = detokenizer.push(ids.back());
      ASSERT_TRUE(is_valid_utf8(out));
      streamed += out;
    }
    streamed += detokenizer.finish();
    ASSERT_EQ(streamed, replace_invalid_utf8(t.tokenizer->decode(ids, true)));
  }
}

}  // namespace
}  // namespace serval
