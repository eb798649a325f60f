// Any bytes as a GGUF file: open, use every lookup on every key, read and decode every tensor,
// write it again. Only Error may come out, and what opens must survive being rewritten.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/check.h"
#include "format/gguf.h"
#include "format/gguf_writer.h"
#include "serval/error.h"
#include "tensor/quant/list.h"

namespace serval {
namespace {

template <typename Action>
void allow_error(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    SERVAL_CHECK(!error.message().empty());
    SERVAL_CHECK(error.message().find('\n') == std::string::npos);
  }
}

void look_up(const GgufFile& file, const std::string& key) {
  allow_error([&] { (void)file.get_uint(key); });
  allow_error([&] { (void)file.get_int(key); });
  allow_error([&] { (void)file.get_float(key); });
  allow_error([&] { (void)file.get_bool(key); });
  allow_error([&] { (void)file.get_string(key); });
  allow_error([&] { (void)file.get_ints(key); });
  allow_error([&] { (void)file.get_floats(key); });
  allow_error([&] {
    if (const auto strings = file.get_strings(key)) {
      size_t bytes = 0;
      for (size_t n = 0; n < strings->size(); ++n) bytes += (*strings)[n].size();
      SERVAL_CHECK(bytes <= file.file_bytes());
    }
  });
}

void read_and_decode(GgufFile& file, const GgufTensor& tensor) {
  std::vector<std::byte> bytes(tensor.ref.bytes());
  file.read(tensor.ref, 0, bytes);
  std::vector<float> row(static_cast<size_t>(tensor.ref.cols));
  dequantize_row(tensor.ref.dtype, bytes.data(), row.data(), tensor.ref.cols);
}

void write_again(GgufFile& file) {
  MemorySink sink;
  GgufWriter writer(sink, file.alignment());
  size_t entries = 0;
  for (const GgufFile::Entry& entry : file.metadata()) {
    if (entry.key == "general.alignment") continue;
    writer.add(entry.key, entry.value);
    ++entries;
  }
  for (const GgufTensor& t : file.tensors()) {
    if (t.supported) writer.add_tensor(t.ref.name, t.ref.dtype, t.ne);
  }
  for (const GgufTensor& t : file.tensors()) {
    if (!t.supported) continue;
    std::vector<std::byte> bytes(t.ref.bytes());
    file.read(t.ref, 0, bytes);
    writer.write(bytes);
  }
  writer.finish();
  const auto again = GgufFile::parse(sink.bytes(), "again");
  const size_t with_alignment = file.alignment() != 32 ? 1 : 0;
  SERVAL_CHECK(again->metadata().size() == entries + with_alignment);
  for (const GgufFile::Entry& entry : file.metadata()) {
    if (entry.key == "general.alignment") continue;
    const GgufValue* value = again->find(entry.key);
    SERVAL_CHECK(value != nullptr && value->type == entry.value.type);
    SERVAL_CHECK(value->u == entry.value.u && value->i == entry.value.i);
    SERVAL_CHECK(value->s == entry.value.s && value->ints == entry.value.ints);
  }
}

}  // namespace
}  // namespace serval

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace serval;
  std::unique_ptr<GgufFile> file;
  allow_error([&] { file = GgufFile::parse(std::as_bytes(std::span(data, size)), "fuzz"); });
  if (!file) return 0;
  for (const GgufFile::Entry& entry : file->metadata()) look_up(*file, entry.key);
  for (const GgufTensor& tensor : file->tensors()) {
    SERVAL_CHECK(file->find_tensor(tensor.ref.name) == &tensor);
    if (tensor.supported) read_and_decode(*file, tensor);
  }
  write_again(*file);
  return 0;
}
