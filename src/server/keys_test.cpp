#include "server/keys.h"

#include <gtest/gtest.h>

#include "serval/error.h"

namespace serval {
namespace {

TEST(KeyRing, ReadsNamesClassesCommentsAndDigests) {
  KeyRing ring;
  ring.add_lines(
      "# comment\n\n0123456789abcdef\nfedcba9876543210 bob metrics # why\r\n"
      // SHA-256 of "abc" (FIPS 180-4, example B.1)
      "sha256:BA7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad root admin",
      "keys");
  ASSERT_NE(ring.find("0123456789abcdef"), nullptr);
  EXPECT_EQ(ring.find("0123456789abcdef")->name, "key1");
  EXPECT_EQ(ring.find("0123456789abcdef")->key_class, KeyClass::kUse);
  EXPECT_EQ(ring.find("fedcba9876543210")->name, "bob");
  EXPECT_EQ(ring.find("fedcba9876543210")->key_class, KeyClass::kMetrics);
  ASSERT_NE(ring.find("abc"), nullptr);
  EXPECT_EQ(ring.find("abc")->key_class, KeyClass::kAdmin);
  for (const char* wrong : {"", "0123456789abcde", "0123456789abcdef ", "root"}) {
    EXPECT_EQ(ring.find(wrong), nullptr) << wrong;
  }
}

TEST(KeyRing, NamesTheLineOfAMistake) {
  for (const char* text :
       {"\nshort", "\n0123456789abcdef name wizard", "\nsha256:12", "\n0123456789abcdef a use more",
        "\n0123456789abcdef a-name-of-more-than-thirty-one-bytes"}) {
    KeyRing ring;
    try {
      ring.add_lines(text, "file");
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      EXPECT_EQ(error.message().find("file, line 2: "), 0U) << error.message();
    }
  }
}

TEST(Access, ClassesSeeOnlyTheirPart) {
  EXPECT_TRUE(allows(KeyClass::kUse, Access::kUse));
  EXPECT_FALSE(allows(KeyClass::kUse, Access::kMetrics));
  EXPECT_FALSE(allows(KeyClass::kUse, Access::kAdmin));
  EXPECT_FALSE(allows(KeyClass::kMetrics, Access::kUse));
  EXPECT_TRUE(allows(KeyClass::kMetrics, Access::kMetrics));
  for (const Access access : {Access::kOpen, Access::kUse, Access::kMetrics, Access::kAdmin}) {
    EXPECT_TRUE(allows(KeyClass::kAdmin, access));
  }
}

}  // namespace
}  // namespace serval
