// format_probe: the formats layer as a filter, for tests/formats/*.py.
//
//   format_probe decode TYPE    < blocks   > float32
//   format_probe encode TYPE    < float32  > blocks
//   format_probe tensor FILE NAME          > the tensor as float32
//   format_probe open FILE                 > counts of entries and tensors
//   format_probe copy IN OUT                 reads all of IN and writes it again
//   format_probe quantize IN OUT TYPE [THREADS]
#include <cstdio>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "base/file.h"
#include "convert/quantize.h"
#include "format/gguf.h"
#include "format/gguf_writer.h"
#include "serval/error.h"
#include "tensor/quant/list.h"

namespace {

using serval::DType;
using serval::GgufFile;

DType type_named(const std::string& name) {
  const auto type = serval::dtype_from_name(name);
  if (!type) throw serval::Error(serval::ErrorCode::kInvalidArgument, "no type " + name);
  return *type;
}

std::vector<char> read_input() {
  return {std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
}

void write_output(const void* data, size_t bytes) {
  std::cout.write(static_cast<const char*>(data), static_cast<std::streamsize>(bytes));
}

void write_floats(DType type, const void* blocks, size_t bytes) {
  const serval::DTypeInfo& format = serval::info(type);
  const size_t elements =
      bytes / static_cast<size_t>(format.block_bytes) * static_cast<size_t>(format.block_elements);
  std::vector<float> floats(elements);
  serval::dequantize_row(type, blocks, floats.data(), static_cast<int64_t>(elements));
  write_output(floats.data(), elements * sizeof(float));
}

void decode(DType type) {
  // One byte further than the allocator's alignment: blocks may lie anywhere.
  std::vector<char> input = read_input();
  input.insert(input.begin(), '\0');
  write_floats(type, input.data() + 1, input.size() - 1);
}

void encode(DType type) {
  const std::vector<char> input = read_input();
  std::vector<float> floats(input.size() / sizeof(float));
  std::copy(input.begin(), input.end(), reinterpret_cast<char*>(floats.data()));
  std::vector<char> blocks(serval::row_bytes(type, floats.size()));
  serval::quantize_row(type, floats.data(), blocks.data(), static_cast<int64_t>(floats.size()));
  write_output(blocks.data(), blocks.size());
}

void print_tensor(const std::string& path, const std::string& name) {
  const auto file = GgufFile::open(path);
  const serval::GgufTensor* tensor = file->find_tensor(name);
  if (tensor == nullptr) throw serval::Error(serval::ErrorCode::kNotFound, "no tensor " + name);
  std::vector<std::byte> bytes(tensor->ref.bytes());
  file->read(tensor->ref, 0, bytes);
  write_floats(tensor->ref.dtype, bytes.data(), bytes.size());
}

void print_counts(const std::string& path) {
  const auto file = GgufFile::open(path);
  std::printf("%zu %zu\n", file->metadata().size(), file->tensors().size());
}

void copy(const std::string& in, const std::string& out) {
  const auto file = GgufFile::open(in);
  serval::AtomicFile output(out);
  serval::GgufWriter writer(output, file->alignment());
  for (const GgufFile::Entry& entry : file->metadata()) {
    if (entry.key != "general.alignment") writer.add(entry.key, entry.value);
  }
  for (const serval::GgufTensor& t : file->tensors()) {
    writer.add_tensor(t.ref.name, t.ref.dtype, t.ne);
  }
  for (const serval::GgufTensor& t : file->tensors()) {
    std::vector<std::byte> bytes(t.ref.bytes());
    file->read(t.ref, 0, bytes);
    writer.write(bytes);
  }
  writer.finish();
  output.commit();
}

void quantize(const std::string& in, const std::string& out, DType type, int threads) {
  serval::QuantizeOptions options;
  options.target = type;
  options.threads = threads;
  const serval::QuantizeReport report = serval::quantize_file(in, out, options);
  std::printf("converted %zu kept %zu f16 %zu\n", report.converted, report.kept_f32,
              report.as_f16.size());
}

int run(const std::vector<std::string>& args) {
  const std::string verb = args.empty() ? "" : args[0];
  if (verb == "decode" && args.size() == 2) {
    decode(type_named(args[1]));
  } else if (verb == "encode" && args.size() == 2) {
    encode(type_named(args[1]));
  } else if (verb == "tensor" && args.size() == 3) {
    print_tensor(args[1], args[2]);
  } else if (verb == "open" && args.size() == 2) {
    print_counts(args[1]);
  } else if (verb == "copy" && args.size() == 3) {
    copy(args[1], args[2]);
  } else if (verb == "quantize" && (args.size() == 4 || args.size() == 5)) {
    quantize(args[1], args[2], type_named(args[3]), args.size() == 5 ? std::stoi(args[4]) : 1);
  } else {
    std::fprintf(stderr, "usage: see the top of format_probe.cpp\n");
    return 2;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run({argv + 1, argv + argc});
  } catch (const serval::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
