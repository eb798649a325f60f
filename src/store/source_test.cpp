#include "store/source.h"

#include <gtest/gtest.h>

#include <set>

#include "base/sha256.h"
#include "store/catalogue.h"
#include "store/model_folder.h"

namespace serval {
namespace {

TEST(Source, ReadsAWheelMember) {
  const auto source = parse_source("pypi://some-package==1.2.3/folder/Model.Q4_0.gguf");
  ASSERT_TRUE(source);
  const auto& wheel = std::get<WheelSource>(*source);
  EXPECT_EQ(wheel.package, "some-package");
  EXPECT_EQ(wheel.version, "1.2.3");
  EXPECT_EQ(wheel.member, "folder/Model.Q4_0.gguf");
  EXPECT_EQ(suggest_id(*source), "model.q4_0");
}

TEST(Source, TakesAWheelWithoutVersion) {
  const auto source = parse_source("pypi://package/m.gguf");
  ASSERT_TRUE(source);
  EXPECT_EQ(std::get<WheelSource>(*source).version, "");
}

TEST(Source, ReadsAHubRepositoryWithAndWithoutFile) {
  const auto with = parse_source("hf://org/repo/sub/file.gguf");
  const auto without = parse_source("hf://org/Repo-GGUF");
  ASSERT_TRUE(with);
  ASSERT_TRUE(without);
  EXPECT_EQ(std::get<HubSource>(*with).repository, "org/repo");
  EXPECT_EQ(std::get<HubSource>(*with).file, "sub/file.gguf");
  EXPECT_EQ(std::get<HubSource>(*without).file, "");
  EXPECT_EQ(suggest_id(*without), "repo-gguf");
}

TEST(Source, RefusesPathsThatLeaveTheFolder) {
  for (const char* text :
       {"pypi://p==1/../etc/passwd", "pypi://p==1//etc/passwd", "pypi://p==1/a/../../b",
        "hf://org/repo/../x", "hf://../repo/x", "hf://org/../x", "pypi://../x"}) {
    EXPECT_FALSE(parse_source(text)) << text;
  }
}

TEST(Source, RefusesWhatPipOrAShellCouldMisread) {
  for (const char* text :
       {"pypi://-rfile==1/x.gguf", "pypi://--index==1/x.gguf", "pypi://p==-1/x.gguf",
        "pypi://p;rm==1/x.gguf", "pypi://p==1 2/x.gguf", "pypi://==1/x.gguf", "pypi://p==/x.gguf",
        "pypi://p==1/", "pypi://p==1", "hf://org", "hf:///repo", "hf://org/-repo"}) {
    EXPECT_FALSE(parse_source(text)) << text;
  }
}

TEST(Source, TakesPlainHttpOnlyOnLoopbackAndOnlyWhenAsked) {
  EXPECT_TRUE(parse_source("https://host.example/m.gguf"));
  EXPECT_FALSE(parse_source("http://host.example/m.gguf"));
  EXPECT_FALSE(parse_source("http://127.0.0.1:8000/m.gguf"));
  EXPECT_TRUE(parse_source("http://127.0.0.1:8000/m.gguf", true));
  EXPECT_TRUE(parse_source("http://localhost/m.gguf", true));
  EXPECT_FALSE(parse_source("http://host.example/m.gguf", true));
  EXPECT_FALSE(parse_source("http://127.0.0.1.host.example/m.gguf", true));
  EXPECT_FALSE(parse_source("http://127.0.0.1@host.example/m.gguf", true));
}

TEST(Source, RefusesOverlongAndUnknown) {
  EXPECT_FALSE(parse_source(""));
  EXPECT_FALSE(parse_source("ftp://host.example/m.gguf"));
  EXPECT_FALSE(parse_source("file:///etc/passwd"));
  EXPECT_FALSE(parse_source("https://host.example/" + std::string(3000, 'a')));
  EXPECT_TRUE(looks_like_source("hf://"));
  EXPECT_FALSE(looks_like_source("models/hf.gguf"));
}

TEST(Url, SplitsIntoPieces) {
  const auto url = split_url("https://host.example:8443/a/b.gguf?x=1");
  ASSERT_TRUE(url);
  EXPECT_EQ(url->scheme, "https");
  EXPECT_EQ(url->host, "host.example");
  EXPECT_EQ(url->port, "8443");
  EXPECT_EQ(url->path, "/a/b.gguf?x=1");
  EXPECT_EQ(split_url("https://host.example")->path, "/");
  EXPECT_EQ(split_url("https://host.example?q")->path, "/?q");
}

TEST(Url, RefusesUserNamesOddPortsAndControlCharacters) {
  for (const char* text :
       {"https://user@host/x", "https://user:secret@host/x", "https://host:/x", "https://host:8a/x",
        "https://host:123456/x", "https:///x", "https://host/a b", "https://host/a\r\nHost: b",
        "https://host/\x7f", "https://h\xc3\xb6st/x", "host/x", "https:/host/x"}) {
    EXPECT_FALSE(split_url(text)) << text;
  }
}

TEST(SuggestId, IsAlwaysAModelId) {
  for (const char* text :
       {"https://host/", "https://host/?m.gguf", "https://host/..", "https://host/%2e%2e/.gguf",
        "https://host/A+B.Q4.gguf?download=true", "pypi://p==1/data/part00.gguf.part00"}) {
    const auto source = parse_source(text);
    ASSERT_TRUE(source) << text;
    EXPECT_TRUE(is_model_id(suggest_id(*source))) << text << " gave " << suggest_id(*source);
  }
}

TEST(ModelId, NamesAFolderAndNothingElse) {
  EXPECT_TRUE(is_model_id("smollm2:135m"));
  for (const char* text : {"", ".", "..", ".hidden", "a/b", "../a", "A", "a b", "a\n"}) {
    EXPECT_FALSE(is_model_id(text)) << text;
  }
  EXPECT_TRUE(is_model_id(std::string(128, 'a')));
  EXPECT_FALSE(is_model_id(std::string(129, 'a')));
}

TEST(Catalogue, EveryEntryIsWellFormed) {
  std::set<std::string_view> names;
  for (const CatalogueEntry& entry : catalogue()) {
    EXPECT_TRUE(names.insert(entry.name).second) << entry.name;
    EXPECT_TRUE(is_model_id(entry.name)) << entry.name;
    EXPECT_TRUE(entry.sha256.empty() || is_sha256(entry.sha256)) << entry.name;
    ASSERT_FALSE(entry.sources.empty()) << entry.name;
    for (const std::string_view source : entry.sources) EXPECT_TRUE(parse_source(source)) << source;
    EXPECT_EQ(find_in_catalogue(entry.name), &entry);
  }
}

TEST(Catalogue, FindsAFamilyByItsFirstEntry) {
  ASSERT_NE(find_in_catalogue(kDefaultModel), nullptr);
  const CatalogueEntry* family = find_in_catalogue("smollm2");
  ASSERT_NE(family, nullptr);
  EXPECT_TRUE(family->name.starts_with("smollm2:"));
  EXPECT_EQ(find_in_catalogue("smollm2:9b"), nullptr);
  EXPECT_TRUE(has_catalogue_family("smollm2:9b"));
  EXPECT_EQ(find_in_catalogue("no-such-model"), nullptr);
  EXPECT_FALSE(has_catalogue_family("no-such-model:1b"));
}

}  // namespace
}  // namespace serval
