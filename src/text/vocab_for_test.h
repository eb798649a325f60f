// Small vocabularies for the unit tests, written as GGUF and read back through the real loader.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "format/gguf_writer.h"
#include "text/tokenizer.h"

namespace serval {

struct VocabForTest {
  std::string model = "gpt2";
  std::string pre = "gpt-2";
  std::vector<std::string> tokens;
  std::vector<int32_t> types;
  std::vector<float> scores;
  std::vector<std::string> merges;
  std::map<std::string, uint32_t> ids;
  std::map<std::string, bool> flags;

  TokenId add(const std::string& text, TokenType type = TokenType::kNormal, float score = 0) {
    tokens.push_back(text);
    types.push_back(static_cast<int32_t>(type));
    scores.push_back(score);
    return static_cast<TokenId>(tokens.size() - 1);
  }

  // The 256 bytes, each written as byte-level BPE files write it; the id is the byte.
  void add_byte_alphabet() {
    uint32_t next = 0x100;
    for (uint32_t byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
      const uint32_t code = printable ? byte : next++;
      std::string text(1, static_cast<char>(code));
      if (code >= 0x80) {
        text = {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 0x3F))};
      }
      add(text);
    }
  }

  // "<0x00>" .. "<0xFF>"
  void add_byte_tokens() {
    constexpr char kHex[] = "0123456789ABCDEF";
    for (int byte = 0; byte < 256; ++byte) {
      add(std::string("<0x") + kHex[byte / 16] + kHex[byte % 16] + ">", TokenType::kByte);
    }
  }

  void add_merge(const std::string& left, const std::string& right) {
    merges.push_back(left + " " + right);
    add(left + right);
  }

  std::vector<std::byte> bytes() const {
    MemorySink sink;
    GgufWriter writer(sink);
    writer.add_string("tokenizer.ggml.model", model);
    if (!pre.empty()) writer.add_string("tokenizer.ggml.pre", pre);
    writer.add_strings("tokenizer.ggml.tokens", tokens);
    writer.add_ints("tokenizer.ggml.token_type", types);
    if (model == "llama") writer.add_floats("tokenizer.ggml.scores", scores);
    if (!merges.empty()) writer.add_strings("tokenizer.ggml.merges", merges);
    for (const auto& [key, id] : ids) writer.add_uint32("tokenizer.ggml." + key, id);
    for (const auto& [key, flag] : flags) writer.add_bool("tokenizer.ggml." + key, flag);
    writer.finish();
    return sink.bytes();
  }

  std::shared_ptr<const Vocab> vocab() const {
    return Vocab::from_gguf(*GgufFile::parse(bytes(), "test"));
  }
  std::unique_ptr<Tokenizer> tokenizer() const { return Tokenizer::create(vocab()); }
};

}  // namespace serval
