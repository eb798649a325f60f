#include "engine/output.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

namespace serval {
namespace {

// What a stop string leaves of a text, by definition: cut before the match that begins first.
std::string cut(const std::string& text, const std::vector<std::string>& stops) {
  size_t first = std::string::npos;
  for (const std::string& stop : stops) first = std::min(first, text.find(stop));
  return text.substr(0, first);
}

TEST(StopMatcher, EqualsTheDefinitionHoweverTextArrives) {
  ASSERT_TRUE(rc::check("any text, any pieces", [] {
    const auto word = rc::gen::container<std::string>(rc::gen::element('a', 'b', 'c'));
    const auto stops = *rc::gen::container<std::vector<std::string>>(rc::gen::nonEmpty(word));
    const auto pieces = *rc::gen::container<std::vector<std::string>>(word);
    StopMatcher matcher(stops);
    std::string text;
    std::string shown;
    for (const std::string& piece : pieces) {
      if (matcher.matched()) break;
      text += piece;
      shown += matcher.push(piece);
      // Never more than the definition allows for any continuation.
      RC_ASSERT(cut(text, stops).starts_with(shown));
    }
    shown += matcher.finish();
    RC_ASSERT(shown == cut(text, stops));
    if (matcher.matched()) {
      RC_ASSERT(text.substr(shown.size()).starts_with(matcher.stop(*matcher.matched())));
    }
  }));
}

TEST(StopMatcher, TheFirstAndThenTheLongestMatchWins) {
  StopMatcher matcher({"bc", "abc", "abcd", "d"});
  EXPECT_EQ(matcher.push("xxabcd"), "xx");
  ASSERT_TRUE(matcher.matched());
  EXPECT_EQ(matcher.stop(*matcher.matched()), "abcd");
}

TEST(StopMatcher, HoldsBackOnlyWhatCouldBecomeAStop) {
  StopMatcher matcher({"END"});
  EXPECT_EQ(matcher.push("the E"), "the ");
  EXPECT_EQ(matcher.push("N"), "");
  EXPECT_EQ(matcher.push("E"), "EN");
  EXPECT_EQ(matcher.finish(), "E");
}

}  // namespace
}  // namespace serval
