// Tensor tables, plans and the K/V cache on tiny models; logits are compared with the oracle in
// tests/golden.
#include "model/model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "backend/cpu/cpu_backend.h"
#include "backend/kv_storage.h"
#include "backend/recording.h"
#include "backend/reference/reference_backend.h"
#include "model/tiny_model.h"
#include "serval/error.h"

namespace serval {
namespace {

std::string load_refusal(const TinyModel& model, ErrorCode code) {
  try {
    RecordingBackend backend;
    load_model(*model.parse(), backend);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.message();
    return error.message();
  }
  ADD_FAILURE() << "was accepted";
  return "";
}

void expect_in(const std::string& message, const char* part) {
  EXPECT_NE(message.find(part), std::string::npos) << message;
}

TEST(Tensors, MissingOnesAreNamed) {
  for (const Architecture& architecture : architectures()) {
    TinyModel model{std::string(architecture.name)};
    model.remove_tensor("blk.1.ffn_up.weight");
    expect_in(load_refusal(model, ErrorCode::kCorrupt), "\"blk.1.ffn_up.weight\" is missing");
  }
}

TEST(Tensors, OnlyTheTablesOptionalOnesMayBeAbsent) {
  TinyModel model("qwen2");
  model.remove_tensor("blk.0.attn_q.bias");
  expect_in(load_refusal(model, ErrorCode::kCorrupt), "blk.0.attn_q.bias");
}

TEST(Tensors, UnknownOnesAreRefused) {
  TinyModel model("llama");
  model.tensor("blk.0.attn_sinks.weight", {4});
  expect_in(load_refusal(model, ErrorCode::kUnsupported), "blk.0.attn_sinks.weight");
}

TEST(Tensors, LayersBeyondTheCountAreRefused) {
  TinyModel model("llama");
  model.set("block_count", 1);
  expect_in(load_refusal(model, ErrorCode::kUnsupported), "\"blk.1.");
}

TEST(Tensors, ShapesMustFitTheConfig) {
  TinyModel model("llama");
  model.tensor("blk.1.attn_k.weight", {32, 32});
  const std::string message = load_refusal(model, ErrorCode::kCorrupt);
  expect_in(message, "blk.1.attn_k.weight");
  expect_in(message, "[32 x 32]");
  expect_in(message, "[32 x 16]");
}

TEST(Tensors, TransposedIsNotTheSameShape) {
  TinyModel model("llama");
  model.tensor("blk.0.ffn_down.weight", {32, 64});
  expect_in(load_refusal(model, ErrorCode::kCorrupt), "[64 x 32]");
}

TEST(Tensors, VectorsAreF32) {
  TinyModel model("llama");
  model.tensor("output_norm.weight", {32}, DType::kF16);
  expect_in(load_refusal(model, ErrorCode::kUnsupported), "output_norm.weight");
}

TEST(Tensors, RopeFactorsMustBePositive) {
  TinyModel model("llama");
  model.tensor("rope_freqs.weight", {4}).fill(0.0F);
  expect_in(load_refusal(model, ErrorCode::kCorrupt), "rope_freqs.weight");
}

TEST(Plan, CountsBytesAndProducts) {
  TinyModel model("llama");
  model.tensor("output.weight", {32, 40}, DType::kQ8_0);
  const auto file = model.parse();
  const ModelPlan plan =
      plan_model(*file, {.rows = 16, .logit_rows = 4}, KvType::kF16, {"cpu", "portable", 1, ""});
  ASSERT_EQ(plan.rows.size(), 1U + 5 * 2 + 1);
  EXPECT_EQ(plan.rows[1].layer, "blk.0");
  EXPECT_EQ(plan.rows[1].verb, "attention_in");
  EXPECT_EQ(plan.rows[1].what, "attn_qkv: F32 [64 x 32]");
  EXPECT_EQ(plan.rows[1].kernel, "cpu portable");
  EXPECT_EQ(plan.rows[2].layer, "blk.0");
  EXPECT_EQ(plan.rows.back().what, "output: Q8_0 [40 x 32]");
  // Per layer: qkv 32x64, output 32x32, gate and up 32x128, down 64x32.
  EXPECT_EQ(plan.macs_per_token, 2U * (2048 + 1024 + 4096 + 2048));
  EXPECT_EQ(plan.head_macs, 32U * 40);
  uint64_t file_bytes = 0;
  for (const GgufTensor& tensor : file->tensors()) file_bytes += tensor.ref.bytes();
  EXPECT_EQ(plan.weight_bytes, file_bytes);
  EXPECT_EQ(plan.step_weight_bytes, file_bytes - 39 * 32 * 4);  // one embedding row of 40
  EXPECT_EQ(plan.kv_bytes_per_token, 2U * 2 * 16 * 2);  // layers, K and V, 16 values, 2 bytes
  EXPECT_EQ(plan.kv_block_bytes, plan.kv_bytes_per_token * kBlockTokens);
  EXPECT_EQ(plan.workspace_bytes, 4U * (16 * (32 + 32 + 32 + 64) + 4 * 40));
}

TEST(Plan, WorkspaceFitsAnyStep) {
  const auto file = TinyModel("gemma3").parse();
  const auto backend = create_reference_backend({});
  const auto model = load_model(*file, *backend);
  EXPECT_EQ(workspace_floats(*model, {.rows = 3}), 3U * (32 + 32 + 32 + 64));
}

void expect_blocks_move_whole(Backend& backend) {
  const auto file = TinyModel("llama").parse();
  const ModelConfig config = find_architecture(*file).read_config(*file);
  ASSERT_GT(config.kv_heads, 1);
  constexpr int kBlocks = 2 * kKvRun + 5;  // two whole runs and a part of one
  KvCache cache(backend, config, KvType::kF16, kBlocks);
  ASSERT_EQ(cache.block_bytes(), KvCache::block_bytes(config, KvType::kF16));
  const auto pattern = [&](int block) {
    std::vector<std::byte> bytes(cache.block_bytes());
    for (size_t i = 0; i < bytes.size(); ++i) {
      bytes[i] = static_cast<std::byte>(i * 7 + i / 251 + static_cast<size_t>(block) * 13);
    }
    return bytes;
  };
  for (int block = 0; block < kBlocks; ++block) cache.write_block(block, pattern(block));
  cache.copy_block(1, kKvRun);
  cache.copy_block(kKvRun + 3, kKvRun + 4);
  cache.copy_block(kBlocks - 1, 0);
  std::vector<std::byte> copy(cache.block_bytes());
  for (int block = 0; block < kBlocks; ++block) {
    const int from = block == 0            ? kBlocks - 1
                     : block == kKvRun     ? 1
                     : block == kKvRun + 4 ? kKvRun + 3
                                           : block;
    cache.read_block(block, copy);
    EXPECT_EQ(copy, pattern(from)) << block;
  }
}

TEST(KvCache, BlocksMoveWhole) {
  expect_blocks_move_whole(*create_reference_backend({}));
  expect_blocks_move_whole(*create_cpu_backend({1, ""}));
}

TEST(KvCache, QuantizedHeadsMustBeWholeBlocks) {
  const auto file = TinyModel("llama").parse();  // heads of 8
  const auto backend = create_reference_backend({});
  const ModelConfig config = find_architecture(*file).read_config(*file);
  EXPECT_THROW(KvCache(*backend, config, KvType::kQ8_0, 1), Error);
}

}  // namespace
}  // namespace serval
