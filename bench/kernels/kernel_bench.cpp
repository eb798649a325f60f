// Kernel speed on real matrix shapes beside the machine's limits, measured in the same run.
//
// kernel_bench [threads [isa [linear|attention|FORMAT]]]
// The fastest fifth of single calls. GB/s counts packed weight bytes once per product, so at one
// row it compares with the read bandwidth; GMAC/s compares with the peak of what is multiplied:
// int8, floats, or bfloat16 pairs.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "backend/cpu/probe.h"
#include "backend/cpu/test_support.h"

namespace serval {
namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double low_quantile(std::vector<double>& times) {
  std::sort(times.begin(), times.end());
  return times[times.size() / 5];
}

struct Shape {
  DType type;
  int outputs, k;
};

void bench_linear(Backend& backend, const Shape& shape, double bandwidth, double peak) {
  MemoryTensors tensors;
  // Enough copies that no cache holds part of them: a last-level cache may have tens of megabytes.
  const double one = static_cast<double>(shape.outputs) *
                     static_cast<double>(row_bytes(shape.type, static_cast<uint64_t>(shape.k)));
  const int copies = std::max(1, static_cast<int>(std::ceil(400e6 / one)));
  const TensorRef ref = tensors.add("w", shape.type, shape.outputs, shape.k, 1);
  std::vector<LinearPtr> linears;
  for (int i = 0; i < copies; ++i) linears.push_back(backend.pack({"w", {ref}, {}}, tensors));
  for (const int rows : {1, 4, 8, 16, 24, 512}) {
    auto h = random_floats(static_cast<size_t>(rows) * static_cast<size_t>(shape.k), 1);
    std::vector<float> x(static_cast<size_t>(rows) * static_cast<size_t>(shape.outputs));
    const OneSpan span(rows);
    backend.begin_step(span.batch());
    // Single calls, because a long pass on a shared machine is always interrupted.
    std::vector<double> times;
    const double end = now() + 0.25;
    for (size_t i = 0; times.size() < 5 || now() < end; ++i) {
      const Linear& linear = *linears[i % linears.size()];
      const double start = now();
      backend.project_add(view(h, rows), linear, nullptr, view(x, rows));
      times.push_back(now() - start);
    }
    const double best = low_quantile(times);
    const double macs = static_cast<double>(shape.outputs) * shape.k * rows;
    std::printf(
        "%-6s %6d x %-5d rows %3d: %8.1f us  %5.1f GB/s (%3.0f%%)  %6.1f GMAC/s (%3.0f%%)\n",
        std::string(info(shape.type).name).c_str(), shape.outputs, shape.k, rows, best * 1e6,
        one / best / 1e9, one / best / 1e7 / bandwidth, macs / best / 1e9,
        macs / best / 1e7 / peak);
  }
}

struct Heads {
  int kv_heads, group, dim;
};

// One row reads the cache, many rows multiply: the limits are the read bandwidth and the peak of
// float multiply-adds, a quarter of the int8 peak.
void bench_attention(Backend& backend, KvType type, const Heads& heads, int past, int rows,
                     double bandwidth, double peak) {
  const int q_width = heads.kv_heads * heads.group * heads.dim;
  const int blocks = (past + rows) / kBlockTokens + 1;
  // Enough layers that the caches hold none of them.
  const double tokens = past + rows;
  const double width = type == KvType::kF16 ? 2.0 : 34.0 / 32.0;
  const double bytes = 2.0 * tokens * heads.kv_heads * heads.dim * width;
  std::vector<KvLayer> layers;
  for (int i = 0; i < (rows > 1 ? 1 : static_cast<int>(std::ceil(400e6 / bytes))); ++i) {
    layers.push_back(backend.make_kv_layer(type, heads.kv_heads, heads.dim, blocks));
    for (Buffer* buffer : {layers.back().k.get(), layers.back().v.get()}) {
      std::memset(buffer->data(), 0x2C, buffer->size());
    }
  }
  auto q = random_floats(static_cast<size_t>(rows) * static_cast<size_t>(q_width), 1);
  std::vector<float> o(q.size());
  const OneSpan span(rows, past);
  AttentionParams params;
  params.heads = heads.kv_heads * heads.group;
  params.scale = 1.0F / std::sqrt(static_cast<float>(heads.dim));
  backend.begin_step(span.batch());
  std::vector<double> times;
  const double end = now() + 0.25;
  for (size_t i = 0; times.size() < 5 || now() < end; ++i) {
    const double start = now();
    backend.attention(view(q, rows), layers[i % layers.size()], params, view(o, rows));
    times.push_back(now() - start);
  }
  const double best = low_quantile(times);
  const double macs = 2.0 * rows * (past + 0.5 * (rows + 1)) * q_width;
  std::printf(
      "attention %-4s %d x %2d x %-3d past %5d rows %3d: %8.1f us  %6.1f GMAC/s (%3.0f%%)  %5.1f "
      "GB/s (%3.0f%%)\n",
      type == KvType::kF16 ? "f16" : "q8_0", heads.kv_heads, heads.group, heads.dim, past, rows,
      best * 1e6, macs / best / 1e9, macs / best / 1e7 / peak, bytes / best / 1e9,
      bytes / best / 1e7 / bandwidth);
}

// The dot products that weights of this type are multiplied with.
DotKind kind_of(DType type) {
  if (type == DType::kBF16) return DotKind::kBf16;
  return type == DType::kF16 || type == DType::kF32 ? DotKind::kFloat : DotKind::kInt8;
}

int run(int threads, const std::string& isa, const std::string& only) {
  const double bandwidth = measure_read_bandwidth(threads);
  const double peaks[] = {measure_dot_peak(threads, DotKind::kInt8),
                          measure_dot_peak(threads, DotKind::kFloat),
                          measure_dot_peak(threads, DotKind::kBf16)};
  std::printf("read %.1f GB/s; GMAC/s: int8 %.0f, float %.0f, bfloat16 %.0f\n", bandwidth, peaks[0],
              peaks[1], peaks[2]);
  const auto backend = create_cpu_backend({threads, isa});
  std::printf("%s, %d threads\n", backend->info().kernels.c_str(), backend->info().threads);
  for (const Shape& shape : {Shape{DType::kQ4_1, 1536, 576},
                             {DType::kQ5_0, 4864, 896},
                             {DType::kQ8_0, 16384, 640},
                             {DType::kQ4_K, 8960, 1536},
                             {DType::kQ6_K, 1536, 8960},
                             {DType::kQ5_K, 4096, 2048},
                             {DType::kF16, 4864, 896},
                             {DType::kF16, 8960, 1536},
                             {DType::kBF16, 4864, 896},
                             {DType::kBF16, 8960, 1536},
                             {DType::kBF16, 1536, 8960},
                             {DType::kF32, 1536, 576}}) {
    if (only.empty() || only == "linear" || only == info(shape.type).name) {
      bench_linear(*backend, shape, bandwidth, peaks[static_cast<int>(kind_of(shape.type))]);
    }
  }
  if (!only.empty() && only != "attention") return 0;
  // SmolLM2 135M, Qwen2.5 0.5B and 1.5B, Gemma 3 270M.
  for (const Heads& heads : {Heads{3, 3, 64}, {2, 7, 64}, {2, 6, 128}, {1, 4, 256}}) {
    for (const KvType type : {KvType::kF16, KvType::kQ8_0}) {
      for (const int past : {2048, 8192}) {
        bench_attention(*backend, type, heads, past, 1, bandwidth, peaks[1]);
      }
      for (const int past : {0, 3584}) {
        bench_attention(*backend, type, heads, past, 512, bandwidth, peaks[1]);
      }
    }
  }
  return 0;
}

}  // namespace
}  // namespace serval

int main(int argc, char** argv) {
  return serval::run(argc > 1 ? std::atoi(argv[1]) : 0, argc > 2 ? argv[2] : "",
                     argc > 3 ? argv[3] : "");
}
