// Hostile bytes from the GGUF reader through the model's own checks to a plan: everything that
// happens to a file before its weights are read. Only Error may come out.
#include <cstddef>
#include <cstdint>
#include <span>

#include "model/model.h"
#include "serval/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto file = serval::GgufFile::parse(std::as_bytes(std::span(data, size)), "fuzz");
    serval::plan_model(*file, {}, serval::KvType::kF16);
  } catch (const serval::Error&) {
    // Refusing is the expected answer.
  }
  return 0;
}
