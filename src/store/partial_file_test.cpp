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
constexpr const char* kOfModel = "23087cd7c7b269c4552f0bd250e0f42c736ae0387c17ce3c3a49c47bfdc763b8";
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
    file.append(bytes("GGUFab"));
    file.checkpoint();
  }
  PartialFile file(folder_, "source");
  EXPECT_EQ(file.size(), 6u);
  file.append(bytes("c"));
  EXPECT_EQ(file.sha256(), kOfModel);
}

TEST_F(PartialFileTest, AnotherSourceStartsAtNothing) {
  {
    PartialFile file(folder_, "source");
    file.append(bytes("GGUFab"));
    file.checkpoint();
  }
  PartialFile file(folder_, "another");
  EXPECT_EQ(file.size(), 0u);
  EXPECT_EQ(file.sha256(), kOfNothing);
}

TEST_F(PartialFileTest, BytesTheJournalDoesNotConfirmAreCutOff) {
  {
    PartialFile file(folder_, "source");
    file.append(bytes("GGUFabc"));
    file.checkpoint();
  }
  std::ofstream(data_path(), std::ios::app) << "torn";
  PartialFile file(folder_, "source");
  EXPECT_EQ(file.size(), 7u);
  EXPECT_EQ(file.sha256(), kOfModel);
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
    file.append(bytes("GGUFabc"));
    file.checkpoint();
  }
  std::ofstream(folder_ + "/.download/state.json", std::ios::trunc) << "{\"bytes\": -1, [";
  PartialFile file(folder_, "source");
  EXPECT_EQ(file.size(), 0u);
}

TEST_F(PartialFileTest, AChangedPartForgetsOnlyItsOwnBytes) {
  PartialFile file(folder_, "source");
  file.append(bytes("GGUFab"));
  file.finish_part();
  file.restart_part("\"old\"");
  file.append(bytes("xyz"));
  file.restart_part("\"new\"");
  EXPECT_EQ(file.validator(), "\"new\"");
  EXPECT_EQ(file.parts(), 1);
  EXPECT_EQ(file.part_start(), 6u);
  EXPECT_EQ(file.size(), 6u);
  file.append(bytes("c"));
  EXPECT_EQ(file.sha256(), kOfModel);
}

TEST_F(PartialFileTest, PublishesUnderTheFinalNameAndLeavesNoJournal) {
  const std::string final_path = folder_ + "/model.gguf";
  PartialFile file(folder_, "source");
  file.append(bytes("GGUFabc"));
  EXPECT_EQ(file.sha256(), kOfModel);
  file.publish_as(final_path);
  std::ifstream in(final_path, std::ios::binary);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(in), {}), "GGUFabc");
  EXPECT_FALSE(fs::exists(folder_ + "/.download"));
}

TEST_F(PartialFileTest, RefusesWhatDoesNotBeginLikeAModel) {
  PartialFile file(folder_, "source");
  EXPECT_THROW(file.append(bytes("<html>")), Error);
  EXPECT_EQ(file.size(), 0u);
}

TEST_F(PartialFileTest, LooksAtTheFirstBytesHoweverTheyAreCut) {
  {
    PartialFile file(folder_, "source");
    file.append(bytes("G"));
    file.append({});
    file.append(bytes("G"));
    EXPECT_THROW(file.append(bytes("X")), Error);
    EXPECT_EQ(file.size(), 2u);
    file.checkpoint();
  }
  PartialFile file(folder_, "source");  // also when they were cut by the end of a run
  EXPECT_THROW(file.append(bytes("uF..")), Error);
  file.append(bytes("UF"));
  file.append(bytes("anything"));
  EXPECT_EQ(file.size(), 12u);
}

TEST_F(PartialFileTest, DiscardRemovesEverything) {
  PartialFile file(folder_, "source");
  file.append(bytes("GGUFabc"));
  file.discard();
  EXPECT_FALSE(fs::exists(folder_ + "/.download"));
}

}  // namespace
}  // namespace serval
