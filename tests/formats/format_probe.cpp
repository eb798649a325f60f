// format_probe: the formats layer as a filter, for tests/formats/*.py.
//
//   format_probe decode TYPE    < blocks   > float32
//   format_probe encode TYPE    < float32  > blocks
//   format_probe tensor FILE NAME          > the tensor as float32
//   format_probe list FILE                 > one line per entry and tensor
//   format_probe copy IN OUT                 reads IN and writes it again
//   format_probe quantize IN OUT TYPE
#include <cstdio>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "format/gguf.h"
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
  const size_t elements = bytes / static_cast<size_t>(format.block_bytes) *
                          static_cast<size_t>(format.block_elements);
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

int run(const std::vector<std::string>& args) {
  const std::string verb = args.empty() ? "" : args[0];
  if (verb == "decode" && args.size() == 2) {
    decode(type_named(args[1]));
  } else if (verb == "encode" && args.size() == 2) {
    encode(type_named(args[1]));
  } else if (verb == "tensor" && args.size() == 3) {
    print_tensor(args[1], args[2]);
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
