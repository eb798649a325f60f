// One pass over the tensors in file order. A tensor is streamed in chunks of whole rows: read,
// decode to float32, check, encode, write; the rows of a chunk are shared among threads. Each row
// is independent, so the result does not depend on the number of threads.
#include "convert/quantize.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <exception>
#include <span>
#include <string_view>
#include <thread>
#include <utility>

#include "base/file.h"
#include "base/quoted.h"
#include "format/gguf.h"
#include "format/gguf_writer.h"
#include "serval/error.h"
#include "tensor/quant/list.h"

namespace serval {
namespace {

constexpr uint64_t kChunkElements = 4 * 1024 * 1024;
constexpr float kLargestF16 = 65504.0f;

// Read element-wise or tiny and sensitive: not worth rounding.
constexpr std::array<std::string_view, 6> kKeptTables = {"_norm.weight",  "ffn_gate_inp.weight",
                                                         "ssm_conv1d",    "shortconv.conv",
                                                         "position_embd", "token_types"};

// general.file_type numbers of the types that can be written.
uint32_t file_type_number(DType type) {
  switch (type) {
    case DType::kF32:
      return 0;
    case DType::kF16:
      return 1;
    case DType::kQ4_0:
      return 2;
    case DType::kQ4_1:
      return 3;
    case DType::kQ8_0:
      return 7;
    case DType::kQ5_0:
      return 8;
    case DType::kQ5_1:
      return 9;
    case DType::kBF16:
      return 32;
    default:
      return 1024;  // "guessed from the tensors"
  }
}

bool is_lossy(DType type) { return type != DType::kF32 && info(type).block_elements > 1; }

bool is_matrix(const GgufTensor& tensor) {
  const std::string& name = tensor.ref.name;
  return tensor.ne.size() >= 2 &&
         std::none_of(kKeptTables.begin(), kKeptTables.end(),
                      [&](std::string_view part) { return name.find(part) != std::string::npos; });
}

DType type_for(const GgufTensor& tensor, DType target) {
  if (!is_matrix(tensor)) return DType::kF32;
  return tensor.ref.cols % info(target).block_elements == 0 ? target : DType::kF16;
}

// Runs work(first, last) over [0, count) on `threads` threads; rethrows the first failure.
template <typename Work>
void share(int64_t count, int threads, const Work& work) {
  const auto workers = std::clamp<int64_t>(threads, 1, std::max<int64_t>(count, 1));
  std::vector<std::exception_ptr> failures(static_cast<size_t>(workers));
  const auto run = [&](int64_t w) noexcept {
    try {
      work(count * w / workers, count * (w + 1) / workers);
    } catch (...) {
      failures[static_cast<size_t>(w)] = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> others;
    for (int64_t w = 1; w < workers; ++w) others.emplace_back(run, w);
    run(0);
  }
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
}

class Converter {
 public:
  Converter(GgufFile& in, GgufWriter& out, int threads) : in_(in), out_(out), threads_(threads) {}

  void convert(const TensorRef& from, DType to) {
    const auto from_row = row_bytes(from.dtype, static_cast<uint64_t>(from.cols));
    const auto to_row = row_bytes(to, static_cast<uint64_t>(from.cols));
    const auto chunk = static_cast<int64_t>(
        std::max<uint64_t>(1, kChunkElements / static_cast<uint64_t>(from.cols)));
    for (int64_t first = 0; first < from.rows; first += chunk) {
      const int64_t rows = std::min(chunk, from.rows - first);
      source_.resize(static_cast<uint64_t>(rows) * from_row);
      in_.read(from, static_cast<uint64_t>(first) * from_row, source_);
      if (from.dtype == to) {
        out_.write(source_);
        continue;
      }
      target_.resize(static_cast<uint64_t>(rows) * to_row);
      share(rows, threads_, [&](int64_t begin, int64_t end) {
        std::vector<float> row(static_cast<size_t>(from.cols));
        for (int64_t r = begin; r < end; ++r) {
          const auto n = static_cast<uint64_t>(r);
          dequantize_row(from.dtype, source_.data() + n * from_row, row.data(), from.cols);
          check(from, to, first + r, row);
          quantize_row(to, row.data(), target_.data() + n * to_row, from.cols);
        }
      });
      out_.write(target_);
    }
  }

 private:
  // Every type but F32 and BF16 holds F16 numbers, which end at 65504.
  void check(const TensorRef& tensor, DType to, int64_t row, std::span<const float> values) const {
    const bool wide = to == DType::kF32 || to == DType::kBF16;
    for (const float value : values) {
      if (std::isfinite(value) && (wide || std::fabs(value) <= kLargestF16)) continue;
      throw Error(ErrorCode::kCorrupt, in_.path() + ": tensor " + quoted(tensor.name) + " row " +
                                           std::to_string(row) + " holds " + std::to_string(value) +
                                           ", which " + std::string(info(to).name) +
                                           " cannot represent");
    }
  }

  GgufFile& in_;
  GgufWriter& out_;
  int threads_;
  std::vector<std::byte> source_;
  std::vector<std::byte> target_;
};

void copy_metadata(const GgufFile& file, DType target, GgufWriter& writer) {
  for (const GgufFile::Entry& entry : file.metadata()) {
    const bool replaced = entry.key == "general.file_type" || entry.key == "general.alignment" ||
                          entry.key == "general.quantization_version";
    const bool of_shards = entry.key.starts_with("split.");
    if (!replaced && !of_shards) writer.add(entry.key, entry.value);
  }
  writer.add_uint32("general.file_type", file_type_number(target));
  writer.add_uint32("general.quantization_version", 2);
}

void refuse_impossible(const GgufFile& file, const std::string& out, DType target) {
  if (!can_quantize(target)) {
    throw Error(ErrorCode::kUnsupported, std::string(info(target).name) +
                                             " cannot be written by this build; choose one of F32, "
                                             "F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0");
  }
  for (const std::string& shard : file.shard_paths()) {
    if (File::open(shard).same_file(out)) {
      throw Error(ErrorCode::kInvalidArgument, out + ": is the input; choose another output");
    }
  }
  for (const GgufTensor& tensor : file.tensors()) {
    if (tensor.supported) continue;
    throw Error(ErrorCode::kUnsupported,
                file.path() + ": tensor " + quoted(tensor.ref.name) + " has storage type " +
                    std::to_string(tensor.gguf_type) + ", which this build cannot read");
  }
}

void account(const GgufTensor& tensor, DType to, DType target, QuantizeReport& report) {
  if (!is_matrix(tensor)) {
    ++report.kept_f32;
  } else if (to == target) {
    ++report.converted;
  } else {
    report.as_f16.push_back(tensor.ref.name);
  }
  if (is_lossy(tensor.ref.dtype) && to != tensor.ref.dtype) ++report.from_quantized;
  report.bytes_in += tensor.ref.bytes();
  TensorRef written = tensor.ref;
  written.dtype = to;
  report.bytes_out += written.bytes();
}

}  // namespace

QuantizeReport quantize_file(const std::string& in, const std::string& out,
                             const QuantizeOptions& options) {
  const auto file = GgufFile::open(in);
  refuse_impossible(*file, out, options.target);

  AtomicFile output(out);
  GgufWriter writer(output);
  copy_metadata(*file, options.target, writer);
  QuantizeReport report;
  for (const GgufTensor& tensor : file->tensors()) {
    const DType to = type_for(tensor, options.target);
    writer.add_tensor(tensor.ref.name, to, tensor.ne);
    account(tensor, to, options.target, report);
  }

  Converter converter(*file, writer, options.threads);
  QuantizeProgress progress;
  progress.count = file->tensors().size();
  progress.bytes_total = report.bytes_in;
  for (const GgufTensor& tensor : file->tensors()) {
    progress.tensor = tensor.ref.name;
    if (options.progress) options.progress(progress);
    converter.convert(tensor.ref, type_for(tensor, options.target));
    progress.bytes_done += tensor.ref.bytes();
    ++progress.index;
  }
  writer.finish();
  output.commit([](const std::string& temporary) { GgufFile::open(temporary); });
  return report;
}

}  // namespace serval
