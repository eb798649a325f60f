// Any bytes as a model's vocabulary: build vocabulary and tokenizer, encode the input's own last
// bytes, and decode ids. Only Error may come out while building; encoding and decoding never fail.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/check.h"
#include "format/gguf.h"
#include "serval/error.h"
#include "text/tokenizer.h"
#include "text/vocab.h"

namespace serval {
namespace {

constexpr size_t kTextBytes = 64;

std::unique_ptr<Tokenizer> build(std::span<const std::byte> bytes) {
  try {
    const auto file = GgufFile::parse(bytes, "fuzz");
    return Tokenizer::create(Vocab::from_gguf(*file));
  } catch (const Error& error) {
    SERVAL_CHECK(!error.message().empty());
    SERVAL_CHECK(error.message().find('\n') == std::string::npos);
    return nullptr;
  }
}

void use(const Tokenizer& tokenizer, const std::string& text) {
  const int size = tokenizer.vocab().size();
  for (const bool parse_special : {false, true}) {
    const auto ids = tokenizer.encode(text, {.parse_special = parse_special, .add_special = true});
    for (const TokenId id : ids) SERVAL_CHECK(id >= 0 && id < size);
    (void)tokenizer.decode(ids, parse_special);
    Detokenizer detokenizer(tokenizer, parse_special);
    for (const TokenId id : ids) (void)detokenizer.push(id);
    (void)detokenizer.finish();
  }
  for (TokenId id = 0; id < std::min(size, 400); ++id) (void)tokenizer.piece(id, true);
}

}  // namespace
}  // namespace serval

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace serval;
  const auto tokenizer = build(std::as_bytes(std::span(data, size)));
  if (!tokenizer) return 0;
  const size_t tail = std::min(size, kTextBytes);
  use(*tokenizer, std::string(reinterpret_cast<const char*>(data) + size - tail, tail));
  use(*tokenizer, " Hello, w\xC3\xB6rld  1234 \xE4\xBD\xA0\n\n<s>\xFF\xF0\x9F\x98\x80");
  return 0;
}
