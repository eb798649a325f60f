#include "base/file.h"

#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>

#include "gtest/gtest.h"
#include "serval/error.h"

namespace serval {
namespace {

class Files : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::path(::testing::TempDir()) / (std::string("file_") + test->name());
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string path(const char* name) const { return (folder_ / name).string(); }
  long entries() const { return std::distance(std::filesystem::directory_iterator(folder_), {}); }

  std::filesystem::path folder_;
};

void write_file(const std::string& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

TEST_F(Files, AWrittenFileReadsBack) {
  const std::string text(3 * 1024 * 1024 + 17, 'x');
  {
    AtomicFile file(path("a"));
    file.write(std::string_view(text).substr(0, 5));
    file.write(std::string_view(text).substr(5));
    EXPECT_FALSE(std::filesystem::exists(path("a")));
    file.commit();
  }
  EXPECT_EQ(read_text_file(path("a"), text.size()), text);
  EXPECT_THROW(read_text_file(path("a"), text.size() - 1), Error);
  EXPECT_EQ(entries(), 1);
}

TEST_F(Files, WithoutCommitNothingChanges) {
  write_file(path("a"), "old");
  {
    AtomicFile file(path("a"));
    file.write("new");
  }
  EXPECT_EQ(read_text_file(path("a"), 100), "old");
  EXPECT_EQ(entries(), 1);
}

TEST_F(Files, AFailedVerificationKeepsTheOldFile) {
  write_file(path("a"), "old");
  {
    AtomicFile file(path("a"));
    file.write("new");
    std::string seen;
    EXPECT_THROW(file.commit([&](const std::string& temporary) {
      seen = read_text_file(temporary, 100);
      throw Error(ErrorCode::kCorrupt, "no");
    }),
                 Error);
    EXPECT_EQ(seen, "new");
  }
  EXPECT_EQ(read_text_file(path("a"), 100), "old");
  EXPECT_EQ(entries(), 1);
}

TEST_F(Files, TwoWritersOfOneNameDoNotMix) {
  AtomicFile first(path("a"));
  AtomicFile second(path("a"));
  first.write("first");
  second.write("second");
  second.commit();
  first.commit();
  EXPECT_EQ(read_text_file(path("a"), 100), "first");
  EXPECT_EQ(entries(), 1);
}

TEST_F(Files, AFullDiskIsAnErrorAndLeavesNothing) {
  // The file size limit plays the full disk: writes beyond it fail with EFBIG.
  const auto ignored = std::signal(SIGXFSZ, SIG_IGN);
  rlimit old_limit{};
  getrlimit(RLIMIT_FSIZE, &old_limit);
  rlimit small = old_limit;
  small.rlim_cur = 2 * 1024 * 1024;
  setrlimit(RLIMIT_FSIZE, &small);
  try {
    AtomicFile file(path("a"));
    for (int n = 0; n < 5; ++n) file.write(std::string(1024 * 1024, 'x'));
    file.commit();
    ADD_FAILURE() << "was written";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kIo);
    EXPECT_NE(error.message().find("write failed"), std::string::npos);
  }
  setrlimit(RLIMIT_FSIZE, &old_limit);
  std::signal(SIGXFSZ, ignored);
  EXPECT_EQ(entries(), 0);
}

TEST_F(Files, OnlyRegularFilesOpen) {
  const auto code_of = [](const std::string& path) {
    try {
      File::open(path);
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode::kInternal;
  };
  EXPECT_EQ(code_of(path("absent")), ErrorCode::kNotFound);
  EXPECT_EQ(code_of(folder_.string()), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of("/dev/null"), ErrorCode::kInvalidArgument);
  ASSERT_EQ(mkfifo(path("pipe").c_str(), 0600), 0);
  EXPECT_EQ(code_of(path("pipe")), ErrorCode::kInvalidArgument);  // and does not wait
  write_file(path("a"), "text");
  EXPECT_EQ(code_of(path("a") + "/b"), ErrorCode::kNotFound);
}

TEST_F(Files, AFileThatShrinksIsAnError) {
  write_file(path("a"), std::string(100, 'x'));
  const File file = File::open(path("a"));
  std::filesystem::resize_file(path("a"), 10);
  std::byte out[50];
  EXPECT_THROW(file.read_at(0, out), Error);
}

TEST_F(Files, SameFileSeesThroughLinks) {
  write_file(path("a"), "x");
  write_file(path("b"), "x");
  std::filesystem::create_symlink(path("a"), path("link"));
  std::filesystem::create_hard_link(path("a"), path("hard"));
  const File file = File::open(path("a"));
  EXPECT_TRUE(file.same_file(path("a")));
  EXPECT_TRUE(file.same_file(path("link")));
  EXPECT_TRUE(file.same_file(path("hard")));
  EXPECT_FALSE(file.same_file(path("b")));
  EXPECT_FALSE(file.same_file(path("absent")));
}

}  // namespace
}  // namespace serval
