#include "base/utf8.h"

#include <string>

#include "base/quoted.h"
#include "gtest/gtest.h"

namespace serval {
namespace {

TEST(Utf8, EveryCodePointSurvivesARoundTrip) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    std::string text;
    append_utf8(text, c);
    const Utf8Step step = decode_utf8(text);
    ASSERT_TRUE(step.valid);
    ASSERT_EQ(step.code_point, c);
    ASSERT_EQ(step.length, text.size());
    for (size_t cut = 1; cut < text.size(); ++cut) {
      const Utf8Step partial = decode_utf8(std::string_view(text).substr(0, cut));
      ASSERT_FALSE(partial.valid);
      ASSERT_TRUE(partial.truncated);
      ASSERT_EQ(partial.length, cut);
    }
  }
}

TEST(Utf8, SurrogatesAndBeyondBecomeReplacement) {
  for (const char32_t c :
       {char32_t{0xD800}, char32_t{0xDFFF}, char32_t{0x110000}, char32_t{0xFFFFFFFF}}) {
    std::string text;
    append_utf8(text, c);
    EXPECT_EQ(text, "\xEF\xBF\xBD");
  }
}

// Every sequence of up to three bytes, against the table of well-formed sequences (Unicode, table
// 3-7).
TEST(Utf8, AgreesWithTheTableOfWellFormedSequences) {
  const auto well_formed = [](unsigned a, unsigned b, unsigned c) {
    const auto tail = [](unsigned x) { return x >= 0x80 && x <= 0xBF; };
    if (a < 0x80) return 1;
    if (a >= 0xC2 && a <= 0xDF && tail(b)) return 2;
    if (a == 0xE0 && b >= 0xA0 && b <= 0xBF && tail(c)) return 3;
    if (((a >= 0xE1 && a <= 0xEC) || a == 0xEE || a == 0xEF) && tail(b) && tail(c)) return 3;
    if (a == 0xED && b >= 0x80 && b <= 0x9F && tail(c)) return 3;
    return 0;
  };
  for (unsigned n = 0; n < 1u << 24; ++n) {
    const char bytes[3] = {static_cast<char>(n >> 16), static_cast<char>(n >> 8),
                           static_cast<char>(n)};
    const Utf8Step step = decode_utf8({bytes, 3});
    const int expected = well_formed(n >> 16, (n >> 8) & 255, n & 255);
    ASSERT_EQ(step.valid, expected > 0) << n;
    ASSERT_TRUE(!step.valid || step.length == static_cast<size_t>(expected)) << n;
    ASSERT_GE(step.length, 1u);
  }
}

TEST(Utf8, ReplacesMaximalSubparts) {
  // The examples of the Unicode standard, chapter 3, "U+FFFD substitution of maximal subparts".
  const std::string mark = "\xEF\xBF\xBD";
  EXPECT_EQ(replace_invalid_utf8("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"),
            mark + mark + mark + mark + mark + mark + mark + mark + "A");
  EXPECT_EQ(replace_invalid_utf8("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"),
            mark + mark + mark + mark + "A");
  EXPECT_EQ(replace_invalid_utf8("plain \xC3\xA9"), "plain \xC3\xA9");
  EXPECT_EQ(valid_utf8_prefix("ab\xC3\xA9\xFFz"), 4u);
  EXPECT_TRUE(is_valid_utf8(""));
}

TEST(Quoted, CannotForgeALine) {
  EXPECT_EQ(quoted("plain"), "\"plain\"");
  EXPECT_EQ(quoted("a\nb\"\x80"), "\"a\\x0ab\\x22\\x80\"");
  EXPECT_EQ(quoted("abcdef", 3), "\"abc...\"");
}

}  // namespace
}  // namespace serval
