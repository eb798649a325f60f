// magic "\x93NUMPY" | version 1 0 | header length, 2 bytes | header: a Python dict, padded with
// spaces and ended by a newline so that the data begins at a multiple of 64 bytes.
#include "apps/npy_writer.h"

#include <fmt/format.h>

#include "base/check.h"

namespace serval {
namespace {
constexpr size_t kAlignment = 64;
constexpr size_t kPreamble = 10;
}  // namespace

NpyWriter::NpyWriter(const std::string& path, const std::vector<size_t>& shape) : file_(path) {
  std::string dimensions;
  for (const size_t n : shape) {
    dimensions += std::to_string(n) + ",";
    left_ *= n;
  }
  std::string header =
      fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", dimensions);
  while ((kPreamble + header.size() + 1) % kAlignment != 0) header += ' ';
  header += '\n';
  std::string preamble("\x93NUMPY\x01\x00", 8);
  preamble += static_cast<char>(header.size() & 0xFF);
  preamble += static_cast<char>(header.size() >> 8);
  file_.write(preamble + header);
}

void NpyWriter::append(std::span<const float> values) {
  SERVAL_CHECK(values.size() <= left_);
  left_ -= values.size();
  file_.write(std::as_bytes(values));
}

void NpyWriter::commit() {
  SERVAL_CHECK(left_ == 0);
  file_.commit();
}

}  // namespace serval
