#include "server/http/origin.h"

#include <gtest/gtest.h>

namespace serval {
namespace {

TEST(HostName, DropsPortAndBrackets) {
  EXPECT_EQ(host_name("LocalHost:8080"), "localhost");
  EXPECT_EQ(host_name("127.0.0.1"), "127.0.0.1");
  EXPECT_EQ(host_name("[::1]:80"), "::1");
  EXPECT_EQ(host_name("[::1]"), "::1");
  for (const char* bad : {"", "a:", "a:b", "a:123456", "[::1", "[::1]x", "a:1:2x"}) {
    EXPECT_EQ(host_name(bad), "") << bad;
  }
}

TEST(HostCheck, LoopbackKnowsOnlyItsOwnNames) {
  const HostCheck check("127.0.0.1", {"api.example"});
  for (const char* good : {"localhost", "127.0.0.1:8080", "[::1]:1", "API.example"}) {
    EXPECT_TRUE(check.accepts(good)) << good;
  }
  for (const char* bad : {"", "evil.example", "localhost.evil.example", "192.0.2.1", "127.0.0.2"}) {
    EXPECT_FALSE(check.accepts(bad)) << bad;
  }
}

TEST(HostCheck, BeyondLoopbackAddressesAreFineAndNamesAreNot) {
  const HostCheck check("0.0.0.0", {});
  EXPECT_TRUE(check.accepts("192.0.2.1:8080"));
  EXPECT_TRUE(check.accepts("[2001:db8::1]"));
  EXPECT_FALSE(check.accepts("rebound.example"));
}

TEST(IsLoopback, CoversTheWholeBlock) {
  for (const char* yes : {"localhost", "127.0.0.1", "127.9.9.9", "::1"})
    EXPECT_TRUE(is_loopback(yes));
  for (const char* no : {"0.0.0.0", "::", "128.0.0.1", "localhost.", "127.0.0.1.example"}) {
    EXPECT_FALSE(is_loopback(no)) << no;
  }
}

}  // namespace
}  // namespace serval
