// The expected digests are those of FIPS 180-2 and of the sha256sum program.
#include "store/partial_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "serval/error.h"

namespace serval {
namespace {

namespace fs = std::filesystem;

constexpr const char* kOfAbc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr const char* kOfNothing =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

class PartialFileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "serval-partial-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { fs::remove_all(folder_); }

  // The one file of the download that is not the journal.
  std::string data_path() const {
    for (const auto& entry : fs::directory_iterator(folder_ + "/.download")) {
      if (entry.path().extension() != ".json") return entry.path().string();
    }
    return {};
  }

  std::string folder_;
};

TEST(Sha256, HashesInPieces) {
  Sha256 hash;
  hash.update(bytes("a"));
  hash.update(bytes(""));
  hash.update(bytes("bc"));
  EXPECT_EQ(hash.finish(), kOfAbc);
  EXPECT_EQ(Sha256().finish(), kOfNothing);
}

TEST(Sha256, KnowsADigestByItsForm) {
  EXPECT_TRUE(is_sha256(kOfAbc));
  EXPECT_FALSE(is_sha256(std::string(63, 'a')));
  EXPECT_FALSE(is_sha256(std::string(65, 'a')));
  EXPECT_FALSE(is_sha256(std::string(63, 'a') + "g"));
}

TEST_F(PartialFileTest, ResumesWithTheHashOfAllBytes) {
  {
    PartialFile file(folder_, "source");
    file.append(bytes("ab"));
    file.checkpoint();
  }
  PartialFile file(folder_, "source");
  EXPECT_EQ(file.size(), 2u);
  file.append(bytes("c"));
  EXPECT_EQ(file.sha256(), kOfAbc);
}

TEST_F(PartialFileTest, AnotherSourceStartsAtNothing) {
  {
    PartialFile file(folder_, "source");
    file.append(bytes("ab"));
    file.checkpoint();
  }
  PartialFile file(folder_, "another");
  EXPECT_EQ(file.size(), 0u);
  EXPECT_EQ(file.sha256(), kOfNothing);
}

TEST_F(PartialFileTest, BytesTheJournalDoesNotConfirmAreCutOff) {
  {
    PartialFile file(folder_, "source");
    file.append(bytes("abc"));
    file.checkpoint();
  }
  std::ofstream(data_path(), std::ios::app) << "torn";
  PartialFile file(folder_, "source");
  EXPECT_EQ(file.size(), 3u);
  EXPECT_EQ(file.sha256(), kOfAbc);
}

TEST_F(PartialFileTest, AFileShorterThanItsJournalStartsAgain) {
  {
    PartialFile file(folder_, "source");
    file.append(bytes("GGUF.."));
    file.finish_part();
    file.checkpoint();
  }
  fs::resize_file(data_path(), 2);
  PartialFile file(folder_, "source");
  EXPECT_EQ(file.size(), 0u);
  EXPECT_EQ(file.parts(), 0);
}

TEST_F(PartialFileTest, ADamagedJournalStartsAgain) {
  {
    PartialFile file(folder_, "source");
    file.append(bytes("abc"));
    file.checkpoint();
  }
  std::ofstream(folder_ + "/.download/state.json", std::ios::trunc) << "{\"bytes\": -1, [";
  PartialFile file(folder_, "source");
  EXPECT_EQ(file.size(), 0u);
}

TEST_F(PartialFileTest, AChangedPartForgetsOnlyItsOwnBytes) {
  PartialFile file(folder_, "source");
  file.append(bytes("ab"));
  file.finish_part();
  file.restart_part("\"old\"");
  file.append(bytes("xyz"));
  file.restart_part("\"new\"");
  EXPECT_EQ(file.validator(), "\"new\"");
  EXPECT_EQ(file.parts(), 1);
  EXPECT_EQ(file.part_start(), 2u);
  EXPECT_EQ(file.size(), 2u);
  file.append(bytes("c"));
  EXPECT_EQ(file.sha256(), kOfAbc);
}

TEST_F(PartialFileTest, PublishesUnderTheFinalNameAndLeavesNoJournal) {
  const std::string final_path = folder_ + "/model.gguf";
  PartialFile file(folder_, "source");
  file.append(bytes("abc"));
  EXPECT_EQ(file.sha256(), kOfAbc);
  file.publish_as(final_path);
  std::ifstream in(final_path, std::ios::binary);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(in), {}), "abc");
  EXPECT_FALSE(fs::exists(folder_ + "/.download"));
}

TEST_F(PartialFileTest, RefusesWhatDoesNotBeginLikeAModel) {
  PartialFile file(folder_, "source");
  EXPECT_THROW(file.append(bytes("<html>")), Error);
  EXPECT_EQ(file.size(), 0u);
}

TEST_F(PartialFileTest, DiscardRemovesEverything) {
  PartialFile file(folder_, "source");
  file.append(bytes("abc"));
  file.discard();
  EXPECT_FALSE(fs::exists(folder_ + "/.download"));
}

}  // namespace
}  // namespace serval
