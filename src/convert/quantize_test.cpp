// What a caller sees of a run: progress, cancelling, the report. The bytes themselves are compared
// with an outside implementation in tests/formats/test_gguf.py.
#include "convert/quantize.h"

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "format/gguf.h"
#include "format/gguf_writer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "serval/error.h"
#include "tensor/quant/list.h"

namespace serval {
namespace {

using ::testing::ElementsAre;

class Quantize : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ =
        std::filesystem::path(::testing::TempDir()) / (std::string("quantize_") + test->name());
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string path(const char* name) const { return (folder_ / name).string(); }

  // A norm, a matrix, and a matrix whose rows no block divides; all of type `type` where it fits.
  void write_model(const std::string& path, DType type) {
    AtomicFile output(path);
    GgufWriter writer(output);
    writer.add_string("general.architecture", "llama");
    writer.add_uint32("general.file_type", 99);
    const std::vector<uint64_t> norm = {40}, matrix = {64, 8}, odd = {40, 2};
    writer.add_tensor("blk.0.attn_norm.weight", DType::kF32, norm);
    writer.add_tensor("blk.0.attn_q.weight", type, matrix);
    writer.add_tensor("blk.0.odd.weight", DType::kF32, odd);
    const std::vector<float> ones(64 * 8, 1.0f);
    const auto floats = std::as_bytes(std::span(ones));
    std::vector<std::byte> blocks(row_bytes(type, ones.size()));
    quantize_row(type, ones.data(), blocks.data(), static_cast<int64_t>(ones.size()));
    writer.write(floats.first(40 * 4));
    writer.write(blocks);
    writer.write(floats.first(80 * 4));
    writer.finish();
    output.commit();
  }

  std::filesystem::path folder_;
};

TEST_F(Quantize, ReportsWhatBecameOfEachTensor) {
  write_model(path("in"), DType::kF32);
  std::vector<std::string> seen;
  QuantizeOptions options;
  options.target = DType::kQ8_0;
  options.progress = [&](const QuantizeProgress& p) {
    seen.push_back(p.tensor + " " + std::to_string(p.index) + "/" + std::to_string(p.count) + " " +
                   std::to_string(p.bytes_done) + "/" + std::to_string(p.bytes_total));
  };
  const QuantizeReport report = quantize_file(path("in"), path("out"), options);
  EXPECT_EQ(report.converted, 1u);
  EXPECT_EQ(report.kept_f32, 1u);
  EXPECT_EQ(report.from_quantized, 0u);
  EXPECT_THAT(report.as_f16, ElementsAre("blk.0.odd.weight"));
  EXPECT_EQ(report.bytes_in, 160u + 2048u + 320u);
  EXPECT_EQ(report.bytes_out, 160u + 544u + 160u);
  EXPECT_THAT(seen,
              ElementsAre("blk.0.attn_norm.weight 0/3 0/2528", "blk.0.attn_q.weight 1/3 160/2528",
                          "blk.0.odd.weight 2/3 2208/2528"));
  const auto file = GgufFile::open(path("out"));
  EXPECT_EQ(file->get_uint("general.file_type"), 7u);
  EXPECT_EQ(file->get_string("general.architecture"), "llama");
}

TEST_F(Quantize, CountsASecondLossAndCopiesWhatFitsAlready) {
  write_model(path("in"), DType::kQ8_0);
  EXPECT_EQ(quantize_file(path("in"), path("q4"), {.target = DType::kQ4_0}).from_quantized, 1u);
  EXPECT_EQ(quantize_file(path("in"), path("q8"), {.target = DType::kQ8_0}).from_quantized, 0u);
  std::vector<std::byte> before(544), after(544);
  for (auto& [name, bytes] : {std::pair<const char*, std::vector<std::byte>&>{"in", before},
                              std::pair<const char*, std::vector<std::byte>&>{"q8", after}}) {
    const auto file = GgufFile::open(path(name));
    file->read(file->find_tensor("blk.0.attn_q.weight")->ref, 0, bytes);
  }
  EXPECT_EQ(before, after);
}

TEST_F(Quantize, CancellingLeavesNothing) {
  write_model(path("in"), DType::kF32);
  QuantizeOptions options;
  options.progress = [](const QuantizeProgress& p) {
    if (p.index == 2) throw Error(ErrorCode::kCancelled, "stopped");
  };
  EXPECT_THROW(quantize_file(path("in"), path("out"), options), Error);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 1);
}

}  // namespace
}  // namespace serval
