// Kernels for callgrind to count the instructions of: kernel_counts ISA.
//
// Every hand-tuned format's product at 1, 8 and 64 rows, and attention, each once through counted()
// after a call that warms up; one line on standard output for each: its name and multiply-adds.
// tools/check_instructions.py runs it, one dump of callgrind per counted().
#include <cstdio>

#include "backend/cpu/test_support.h"

// Where counting begins and ends; named for callgrind's --toggle-collect and --dump-after.
extern "C" __attribute__((noinline)) void counted(void (*function)(const void*),
                                                  const void* object) {
  function(object);
  asm volatile("" ::: "memory");  // the call stays inside
}

namespace serval {
namespace {

constexpr int kOutputs = 256;
constexpr int kWidth = 2048;
// Qwen2.5 0.5B.
constexpr int kKvHeads = 2;
constexpr int kGroup = 7;
constexpr int kHeadDim = 64;
constexpr int kTokens = 512;  // one segment

template <typename Verb>
void count(const std::string& name, double macs, const Verb& verb) {
  verb();
  counted([](const void* object) { (*static_cast<const Verb*>(object))(); }, &verb);
  std::printf("%s %.0f\n", name.c_str(), macs);
}

void count_products(Backend& backend, DType type) {
  MemoryTensors tensors;
  const TensorRef ref = tensors.add("w", type, kOutputs, kWidth, 1);
  const LinearPtr linear = backend.pack({"w", {ref}, {}}, tensors);
  for (const int rows : {1, 8, 64}) {
    auto h = random_floats(static_cast<size_t>(rows) * kWidth, 1);
    std::vector<float> x(static_cast<size_t>(rows) * kOutputs);
    const OneSpan span(rows);
    backend.begin_step(span.batch());
    count(std::string(info(type).name) + " " + std::to_string(rows),
          static_cast<double>(rows) * kOutputs * kWidth,
          [&] { backend.project_add(view(h, rows), *linear, nullptr, view(x, rows)); });
  }
}

void count_attention(Backend& backend, KvType type) {
  const int q_width = kKvHeads * kGroup * kHeadDim;
  const KvLayer kv = backend.make_kv_layer(type, kKvHeads, kHeadDim, kTokens / kBlockTokens);
  for (Buffer* buffer : {kv.k.get(), kv.v.get()}) {
    std::memset(buffer->data(), 0x2C, buffer->size());
  }
  for (const int rows : {1, 64}) {
    auto q = random_floats(static_cast<size_t>(rows) * static_cast<size_t>(q_width), 1);
    std::vector<float> o(q.size());
    const int past = kTokens - rows;
    const OneSpan span(rows, past);
    AttentionParams params;
    params.heads = kKvHeads * kGroup;
    params.scale = 0.125F;
    backend.begin_step(span.batch());
    count(std::string(type == KvType::kF16 ? "attention-f16 " : "attention-q8_0 ") +
              std::to_string(rows),
          2.0 * rows * (past + 0.5 * (rows + 1)) * q_width,
          [&] { backend.attention(view(q, rows), kv, params, view(o, rows)); });
  }
}

}  // namespace
}  // namespace serval

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: kernel_counts ISA\n", stderr);
    return 2;
  }
  try {
    const auto backend = serval::create_cpu_backend({1, argv[1]});
    using serval::DType;
    for (const DType type : {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ8_0, DType::kQ4_K,
                             DType::kQ6_K, DType::kF16, DType::kBF16}) {
      serval::count_products(*backend, type);
    }
    for (const serval::KvType type : {serval::KvType::kF16, serval::KvType::kQ8_0}) {
      serval::count_attention(*backend, type);
    }
  } catch (const serval::Error& error) {
    std::fprintf(stderr, "kernel_counts: %s\n", error.message().c_str());
    return error.code() == serval::ErrorCode::kUnsupported ? 77 : 1;
  }
  return 0;
}
