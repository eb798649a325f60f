// Kernel speed on real matrix shapes beside the machine's limits, measured in the same run.
//
// kernel_bench [threads [isa [format]]]
// The fastest fifth of single calls. GB/s counts packed weight bytes once per product, so at one
// row it compares with the read bandwidth; GMAC/s compares with the int8 peak.
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
  // Enough copies that the caches hold none of them.
  const double one = static_cast<double>(shape.outputs) *
                     static_cast<double>(row_bytes(shape.type, static_cast<uint64_t>(shape.k)));
  const int copies = std::max(1, static_cast<int>(std::ceil(80e6 / one)));
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

void bench_attention(Backend& backend, int kv_heads, int group, int dim, int past, int rows) {
  const int q_width = kv_heads * group * dim;
  KvLayer kv = backend.make_kv_layer(KvType::kF16, kv_heads, dim, (past + rows) / kBlockTokens + 1);
  auto q = random_floats(static_cast<size_t>(rows) * static_cast<size_t>(q_width), 1);
  std::vector<float> o(q.size());
  const OneSpan span(rows, past);
  AttentionParams params;
  params.heads = kv_heads * group;
  params.scale = 1.0F / std::sqrt(static_cast<float>(dim));
  backend.begin_step(span.batch());
  std::vector<double> times;
  for (int pass = 0; pass < 21; ++pass) {
    const double start = now();
    backend.attention(view(q, rows), kv, params, view(o, rows));
    times.push_back(now() - start);
  }
  const double best = low_quantile(times);
  double tokens = 0;
  for (int r = 0; r < rows; ++r) tokens += past + r + 1;
  const double macs = 2.0 * tokens * q_width;
  const double bytes = 4.0 * (past + rows) * kv_heads * dim;
  std::printf(
      "attention %d x %d heads of %3d, past %5d rows %3d: %8.1f us  %6.1f GMAC/s  %5.1f GB/s\n",
      kv_heads, group, dim, past, rows, best * 1e6, macs / best / 1e9, bytes / best / 1e9);
}

int run(int threads, const std::string& isa, const std::string& format) {
  const double bandwidth = measure_read_bandwidth(threads);
  const double peak = measure_dot_peak(threads);
  std::printf("read %.1f GB/s, int8 dot %.0f GMAC/s\n", bandwidth, peak);
  const auto backend = create_cpu_backend({threads, isa});
  std::printf("%s, %d threads\n", backend->info().kernels.c_str(), backend->info().threads);
  for (const Shape& shape : {Shape{DType::kQ4_1, 1536, 576},
                             {DType::kQ5_0, 4864, 896},
                             {DType::kQ8_0, 16384, 640},
                             {DType::kQ4_K, 8960, 1536},
                             {DType::kQ6_K, 1536, 8960},
                             {DType::kQ5_K, 4096, 2048},
                             {DType::kF16, 4096, 2048}}) {
    if (!format.empty() && format != info(shape.type).name) continue;
    bench_linear(*backend, shape, bandwidth, peak);
  }
  if (!format.empty()) return 0;
  for (const int past : {512, 4096}) bench_attention(*backend, 3, 3, 64, past, 1);
  bench_attention(*backend, 2, 6, 128, 4096, 1);
  bench_attention(*backend, 3, 3, 64, 0, 512);
  bench_attention(*backend, 2, 7, 64, 0, 512);
  bench_attention(*backend, 2, 6, 128, 0, 512);
  bench_attention(*backend, 1, 4, 256, 0, 512);
  return 0;
}

}  // namespace
}  // namespace serval

int main(int argc, char** argv) {
  return serval::run(argc > 1 ? std::atoi(argv[1]) : 0, argc > 2 ? argv[2] : "",
                     argc > 3 ? argv[3] : "");
}
