#include "server/http/head_screen.h"

#include <gtest/gtest.h>

#include <string>

namespace serval {
namespace {

int verdict(std::string_view bytes, const HttpLimits& limits = {}) {
  size_t size = 0;
  const auto refusal = screen_head(bytes, limits, size);
  if (refusal) return refusal->status;
  return size > 0 ? 200 : 0;
}

const std::string kLine = "GET / HTTP/1.1\r\n";

TEST(HeadScreen, AcceptsAHeadAndSaysWhereItEnds) {
  const std::string head = kLine + "Host: a\r\nX-Empty:\r\nContent-Length: 3\r\n\r\n";
  size_t size = 0;
  EXPECT_FALSE(screen_head(head + "abc", {}, size));
  EXPECT_EQ(size, head.size());
}

TEST(HeadScreen, EveryPrefixIsUndecided) {
  const std::string head = kLine + "Host: a\r\nX: y\r\n\r\n";
  for (size_t n = 0; n < head.size(); ++n) EXPECT_EQ(verdict(head.substr(0, n)), 0) << n;
}

TEST(HeadScreen, RefusesWhatSmugglingLivesOn) {
  for (const char* fields :
       {"Host: a\n\r\n", "Host: a\rb\r\n", " folded\r\n", "\tfolded\r\n", "no colon\r\n",
        ": no name\r\n", "Host: a\r\nHost: a\r\n", "Content-Length: 1\r\nContent-Length: 1\r\n",
        "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", "Content-Length: \r\n",
        "Content-Length: 1 1\r\n", "Content-Length: 0x1\r\n",
        "Content-Length: 1234567890123456789\r\n", "Transfer-Encoding: gzip\r\n",
        "transfer-encoding: chunked, chunked\r\n"}) {
    EXPECT_EQ(verdict(kLine + fields + "\r\n"), 400) << fields;
  }
  EXPECT_EQ(verdict(kLine + "X: a" + std::string(1, '\0') + "b\r\n\r\n"), 400);
  EXPECT_EQ(verdict("GET /\r\n\r\n"), 400);
  EXPECT_EQ(verdict(std::string(100, 'A') + " / HTTP/1.1\r\n\r\n"), 400);
}

TEST(HeadScreen, LimitsHoldAtTheirBorders) {
  HttpLimits limits;
  limits.fields = 3;
  limits.target_bytes = 10;
  limits.head_bytes = 100;
  const auto fields = [](int n) {
    std::string text = kLine;
    for (int i = 0; i < n; ++i) text += "A: b\r\n";
    return text + "\r\n";
  };
  EXPECT_EQ(verdict(fields(2), limits), 200);
  EXPECT_EQ(verdict(fields(3), limits), 200);
  EXPECT_EQ(verdict(fields(4), limits), 431);
  const auto target = [](size_t n) { return "GET " + std::string(n, '/') + " HTTP/1.1\r\n\r\n"; };
  EXPECT_EQ(verdict(target(9), limits), 200);
  EXPECT_EQ(verdict(target(10), limits), 200);
  EXPECT_EQ(verdict(target(11), limits), 414);
  const auto head = [](size_t n) {
    return kLine + "A: " + std::string(n - kLine.size() - 7, 'b') + "\r\n\r\n";
  };
  EXPECT_EQ(verdict(head(99), limits), 200);
  EXPECT_EQ(verdict(head(100), limits), 200);
  EXPECT_EQ(verdict(head(101), limits), 431);
  EXPECT_EQ(verdict(kLine + std::string(100, 'b'), limits), 431);  // incomplete, already too large
  EXPECT_EQ(verdict("GET /" + std::string(60, 'b'), limits), 414);
}

}  // namespace
}  // namespace serval
