// What a well-formed file yields: values, lookups, tensors, reads.
#include "format/gguf.h"

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "base/file.h"
#include "format/gguf_bytes.h"
#include "format/gguf_writer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "serval/error.h"

namespace serval {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// The code of the Error that `action` throws.
template <typename Action>
std::optional<ErrorCode> error_of(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.code();
  }
  return std::nullopt;
}

TEST(GgufValues, EveryScalarType) {
  GgufBytes image;
  image.header(0, 12);
  image.key("u8", GgufType::kUint8).number<uint8_t>(255);
  image.key("i8", GgufType::kInt8).number<int8_t>(-128);
  image.key("u16", GgufType::kUint16).number<uint16_t>(65535);
  image.key("i16", GgufType::kInt16).number<int16_t>(-32768);
  image.key("u32", GgufType::kUint32).number<uint32_t>(4294967295u);
  image.key("i32", GgufType::kInt32).number<int32_t>(-7);
  image.key("u64", GgufType::kUint64).number<uint64_t>(UINT64_MAX);
  image.key("i64", GgufType::kInt64).number<int64_t>(INT64_MIN);
  image.key("f32", GgufType::kFloat32).number<float>(0.5f);
  image.key("f64", GgufType::kFloat64).number<double>(1e300);
  image.key("yes", GgufType::kBool).number<uint8_t>(1);
  image.key("text", GgufType::kString).string("a\0b");
  const auto file = image.parse();

  EXPECT_EQ(file->get_uint("u8"), 255u);
  EXPECT_EQ(file->get_int("i8"), -128);
  EXPECT_EQ(file->get_uint("u16"), 65535u);
  EXPECT_EQ(file->get_int("i16"), -32768);
  EXPECT_EQ(file->get_uint("u32"), 4294967295u);
  EXPECT_EQ(file->get_int("u32"), 4294967295);
  EXPECT_EQ(file->get_int("i32"), -7);
  EXPECT_EQ(file->get_uint("u64"), UINT64_MAX);
  EXPECT_EQ(file->get_int("i64"), INT64_MIN);
  EXPECT_EQ(file->get_float("f32"), 0.5);
  EXPECT_EQ(file->get_float("f64"), 1e300);
  EXPECT_EQ(file->get_float("i32"), -7.0);
  EXPECT_EQ(file->get_bool("yes"), true);
  EXPECT_EQ(file->get_string("text"), "a");
  EXPECT_EQ(file->get_uint("absent"), std::nullopt);
  EXPECT_EQ(file->metadata().size(), 12u);
  EXPECT_EQ(file->metadata()[4].key, "u32");
}

TEST(GgufValues, WrongTypesNameTheKey) {
  GgufBytes image;
  image.header(0, 4);
  image.key("minus", GgufType::kInt32).number<int32_t>(-1);
  image.key("huge", GgufType::kUint64).number<uint64_t>(UINT64_MAX);
  image.key("nan", GgufType::kFloat32).number<float>(std::numeric_limits<float>::quiet_NaN());
  image.key("text", GgufType::kString).string("7");
  const auto file = image.parse();

  EXPECT_EQ(error_of([&] { file->get_uint("minus"); }), ErrorCode::kCorrupt);
  EXPECT_EQ(error_of([&] { file->get_int("huge"); }), ErrorCode::kCorrupt);
  EXPECT_EQ(error_of([&] { file->get_float("nan"); }), ErrorCode::kCorrupt);
  EXPECT_EQ(error_of([&] { file->get_bool("minus"); }), ErrorCode::kCorrupt);
  EXPECT_EQ(error_of([&] { file->get_string("minus"); }), ErrorCode::kCorrupt);
  EXPECT_EQ(error_of([&] { file->get_strings("text"); }), ErrorCode::kCorrupt);
  EXPECT_EQ(error_of([&] { file->get_ints("text"); }), ErrorCode::kCorrupt);
  EXPECT_EQ(error_of([&] { file->get_floats("text"); }), ErrorCode::kCorrupt);
  try {
    file->get_uint("text");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.message(), HasSubstr("\"text\""));
  }
}

TEST(GgufValues, Arrays) {
  GgufBytes image;
  image.header(0, 4);
  image.array("strings", GgufType::kString, 3).string("one").string("").string("three");
  image.array("ints", GgufType::kInt8, 2).number<int8_t>(-1).number<int8_t>(5);
  image.array("floats", GgufType::kFloat64, 2).number<double>(1.5).number<double>(-2);
  image.array("none", GgufType::kUint32, 0);
  const auto file = image.parse();

  const GgufStrings strings = *file->get_strings("strings");
  ASSERT_EQ(strings.size(), 3u);
  EXPECT_EQ(strings[0], "one");
  EXPECT_EQ(strings[1], "");
  EXPECT_EQ(strings[2], "three");
  EXPECT_THAT(*file->get_ints("ints"), ElementsAre(-1, 5));
  EXPECT_THAT(*file->get_floats("floats"), ElementsAre(1.5, -2.0));
  EXPECT_THAT(*file->get_floats("ints"), ElementsAre(-1.0, 5.0));
  EXPECT_TRUE(file->get_ints("none")->empty());
  EXPECT_EQ(file->find("strings")->array_size(), 3u);
}

TEST(GgufValues, StringsOutliveTheFile) {
  GgufBytes image;
  image.header(0, 1).array("t", GgufType::kString, 2).string("a").string("b");
  auto file = image.parse();
  const GgufStrings strings = *file->get_strings("t");
  file.reset();
  EXPECT_EQ(strings[1], "b");
}

TEST(GgufValues, ArraysLongerThanTheReadWindow) {
  constexpr uint64_t kCount = 200'000;
  GgufBytes image;
  image.header(0, 2).array("n", GgufType::kUint32, kCount);
  for (uint32_t n = 0; n < kCount; ++n) image.number(n);
  image.array("s", GgufType::kString, kCount);
  for (uint32_t n = 0; n < kCount; ++n) image.string(std::to_string(n));
  const auto file = image.parse();
  const auto numbers = *file->get_ints("n");
  const auto strings = *file->get_strings("s");
  ASSERT_EQ(numbers.size(), kCount);
  ASSERT_EQ(strings.size(), kCount);
  for (size_t n = 0; n < kCount; ++n) {
    ASSERT_EQ(numbers[n], static_cast<int64_t>(n));
    ASSERT_EQ(strings[n], std::to_string(n));
  }
}

TEST(GgufTensors, ShapesAndOffsets) {
  GgufBytes image;
  image.header(3, 0, 2);
  image.tensor("vector", {5}, 0, 0);
  image.tensor("matrix", {32, 3}, 8, 32);
  image.tensor("experts", {2, 3, 4, 5}, 0, 160);
  image.data(160 + 480);
  const auto file = image.parse();
  EXPECT_EQ(file->version(), 2u);
  EXPECT_EQ(file->alignment(), 32u);
  EXPECT_EQ(file->file_bytes(), image.bytes().size());

  const GgufTensor& vector = *file->find_tensor("vector");
  EXPECT_EQ(vector.ref.rows, 1);
  EXPECT_EQ(vector.ref.cols, 5);
  const GgufTensor& matrix = *file->find_tensor("matrix");
  EXPECT_EQ(matrix.ref.dtype, DType::kQ8_0);
  EXPECT_EQ(matrix.ref.rows, 3);
  EXPECT_EQ(matrix.ref.bytes(), 3u * 34u);
  EXPECT_EQ(matrix.offset - vector.offset, 32u);
  const GgufTensor& experts = *file->find_tensor("experts");
  EXPECT_EQ(experts.ref.rows, 60);
  EXPECT_THAT(experts.ne, ElementsAre(2, 3, 4, 5));
  EXPECT_EQ(file->find_tensor("absent"), nullptr);
}

TEST(GgufTensors, ReadsAreRangeChecked) {
  GgufBytes image;
  image.header(1, 0).tensor("t", {4}, 0, 0).data(32);
  const auto file = image.parse();
  TensorRef ref = file->find_tensor("t")->ref;
  std::vector<std::byte> out(16);
  file->read(ref, 0, out);
  file->read(ref, 16, std::span(out).first(0));
  EXPECT_EQ(error_of([&] { file->read(ref, 1, out); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(error_of([&] { file->read(ref, UINT64_MAX, out); }), ErrorCode::kInvalidArgument);
  ref.rows = 1000;  // a caller's own idea of the shape does not widen the range
  EXPECT_EQ(error_of([&] { file->read(ref, 16, out); }), ErrorCode::kInvalidArgument);
  ref.name = "absent";
  EXPECT_EQ(error_of([&] { file->read(ref, 0, out); }), ErrorCode::kNotFound);
}

TEST(GgufTensors, AnUnknownTypeIsAnErrorOnlyWhenUsed) {
  GgufBytes image;
  image.header(2, 0).tensor("strange", {256}, 16, 0).tensor("plain", {8}, 0, 64).data(96);
  const auto file = image.parse();
  const GgufTensor& strange = *file->find_tensor("strange");
  EXPECT_FALSE(strange.supported);
  EXPECT_EQ(strange.gguf_type, 16u);
  EXPECT_TRUE(file->find_tensor("plain")->supported);
  std::byte out[1];
  EXPECT_EQ(error_of([&] { file->read(strange.ref, 0, out); }), ErrorCode::kUnsupported);
}

class GgufOnDisk : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::path(::testing::TempDir()) / (std::string("gguf_") + test->name());
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string path(const char* name) const { return (folder_ / name).string(); }

  std::filesystem::path folder_;
};

TEST_F(GgufOnDisk, WriterToReader) {
  const std::vector<std::string> texts = {"a", "", "long " + std::string(100, 'x')};
  const std::vector<int32_t> numbers = {-1, 2};
  const std::vector<float> floats = {0.25f};
  const std::vector<uint64_t> wide = {32, 3};
  const std::vector<uint64_t> odd = {5};
  std::vector<std::byte> data(32 * 3 / 32 * 34 + 5 * 4);
  for (size_t n = 0; n < data.size(); ++n) data[n] = static_cast<std::byte>(n * 7);
  {
    AtomicFile output(path("model.gguf"));
    GgufWriter writer(output, 128);
    writer.add_string("general.architecture", "llama");
    writer.add_uint32("n", 7);
    writer.add_float32("f", 0.5f);
    writer.add_bool("b", true);
    writer.add_strings("texts", texts);
    writer.add_ints("numbers", numbers);
    writer.add_floats("floats", floats);
    writer.add_tensor("wide", DType::kQ8_0, wide);
    writer.add_tensor("odd", DType::kF32, odd);
    writer.write(std::span(data).first(1));
    writer.write(std::span(data).subspan(1));
    writer.finish();
    output.commit();
  }
  const auto file = GgufFile::open(path("model.gguf"));
  EXPECT_EQ(file->alignment(), 128u);
  EXPECT_EQ(file->get_string("general.architecture"), "llama");
  EXPECT_EQ(file->get_uint("n"), 7u);
  EXPECT_EQ(file->get_bool("b"), true);
  EXPECT_EQ((*file->get_strings("texts"))[2], texts[2]);
  EXPECT_THAT(*file->get_ints("numbers"), ElementsAre(-1, 2));
  std::vector<std::byte> wide_bytes(102);
  file->read(file->find_tensor("wide")->ref, 0, wide_bytes);
  EXPECT_TRUE(std::equal(wide_bytes.begin(), wide_bytes.end(), data.begin()));
  std::vector<std::byte> odd_bytes(19);
  file->read(file->find_tensor("odd")->ref, 1, odd_bytes);
  EXPECT_TRUE(std::equal(odd_bytes.begin(), odd_bytes.end(), data.begin() + 103));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 1);
}

TEST_F(GgufOnDisk, ManyThreadsReadOneFile) {
  constexpr int kRows = 64;
  const std::vector<uint64_t> ne = {16, kRows};
  AtomicFile output(path("model.gguf"));
  GgufWriter writer(output);
  writer.add_tensor("t", DType::kF32, ne);
  for (int r = 0; r < kRows; ++r) {
    const std::vector<float> row(16, static_cast<float>(r));
    writer.write(std::as_bytes(std::span(row)));
  }
  writer.finish();
  output.commit();

  const auto file = GgufFile::open(path("model.gguf"));
  const TensorRef ref = file->find_tensor("t")->ref;
  std::atomic<int> wrong = 0;
  std::vector<std::thread> readers;
  for (int t = 0; t < 4; ++t) {
    readers.emplace_back([&, t] {
      std::vector<float> row(16);
      for (int n = 0; n < 500; ++n) {
        const auto r = static_cast<uint64_t>((n * 7 + t * 13) % kRows);
        file->read(ref, r * 64, std::as_writable_bytes(std::span(row)));
        if (row[3] != static_cast<float>(r)) ++wrong;
      }
    });
  }
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(wrong, 0);
}

TEST_F(GgufOnDisk, EachUnusablePathHasItsOwnMessage) {
  const auto message_of = [](const std::string& path) {
    try {
      GgufFile::open(path);
    } catch (const Error& error) {
      return error.message();
    }
    return std::string("opened");
  };
  const auto write = [&](const char* name, std::string_view bytes) {
    AtomicFile output(path(name));
    output.write(bytes);
    output.commit();
    return path(name);
  };
  EXPECT_THAT(message_of(path("absent")), HasSubstr("absent: no such file"));
  EXPECT_THAT(message_of(folder_.string()), HasSubstr("is a directory"));
  EXPECT_THAT(message_of("/dev/zero"), HasSubstr("is not a regular file"));
  EXPECT_THAT(message_of(write("empty", "")), HasSubstr("is empty"));
  EXPECT_THAT(message_of(write("three", "GGU")), HasSubstr("too short"));
  EXPECT_THAT(message_of(write("four", "GGUF")), HasSubstr("offset 4"));
  EXPECT_THAT(message_of(write("zip", "PK\3\4rest")), HasSubstr("\"PK\\x03\\x04\""));
  EXPECT_THAT(message_of(write("big", std::string("GGUF\0\0\0\3", 8) + std::string(64, 'x'))),
              HasSubstr("big-endian"));
  EXPECT_THAT(message_of(write("v1", std::string("GGUF\1\0\0\0", 8) + std::string(64, 'x'))),
              HasSubstr("version 1"));
}

// The models people use, when the test machine has them.
TEST(GgufRealModels, OpenFastAndReadToTheLastByte) {
  const char* folder = std::getenv("SERVAL_TEST_MODELS");
  if (folder == nullptr) GTEST_SKIP() << "SERVAL_TEST_MODELS is not set";
  int seen = 0;
  for (const char* name : {"smollm2-135m", "gemma3-270m", "qwen2.5-0.5b", "qwen2.5-1.5b"}) {
    const auto path = std::filesystem::path(folder) / (std::string(name) + ".gguf");
    if (!std::filesystem::exists(path)) continue;
    ++seen;
    const auto file = GgufFile::open(path.string());
    EXPECT_EQ(file->get_strings("tokenizer.ggml.tokens")->size(),
              file->get_ints("tokenizer.ggml.token_type")->size());
    for (const GgufTensor& tensor : file->tensors()) {
      ASSERT_TRUE(tensor.supported) << tensor.ref.name;
      std::byte last[1];
      file->read(tensor.ref, tensor.ref.bytes() - 1, last);
    }
  }
  EXPECT_GT(seen, 0) << "no model in " << folder;
}

}  // namespace
}  // namespace serval
