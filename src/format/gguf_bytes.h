// Test support: builds GGUF images byte by byte, well formed or not.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/gguf.h"

namespace serval {

class GgufBytes {
 public:
  template <typename T>
  GgufBytes& number(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  GgufBytes& raw(std::string_view text) {
    bytes_.append(text);
    return *this;
  }
  GgufBytes& string(std::string_view text) { return number<uint64_t>(text.size()).raw(text); }

  GgufBytes& header(uint64_t tensors, uint64_t entries, uint32_t version = 3) {
    return raw("GGUF").number(version).number(tensors).number(entries);
  }
  GgufBytes& key(std::string_view name, uint32_t type) { return string(name).number(type); }
  GgufBytes& key(std::string_view name, GgufType type) {
    return key(name, static_cast<uint32_t>(type));
  }
  GgufBytes& array(std::string_view name, GgufType element, uint64_t count) {
    return key(name, GgufType::kArray).number(static_cast<uint32_t>(element)).number(count);
  }
  GgufBytes& tensor(std::string_view name, const std::vector<uint64_t>& ne, uint32_t type,
                    uint64_t offset) {
    string(name).number(static_cast<uint32_t>(ne.size()));
    for (const uint64_t extent : ne) number(extent);
    return number(type).number(offset);
  }
  // Ends the header: pads to the alignment, then `data` zero bytes.
  GgufBytes& data(uint64_t data_bytes, uint64_t alignment = 32) {
    bytes_.resize((bytes_.size() + alignment - 1) / alignment * alignment);
    bytes_.resize(bytes_.size() + data_bytes);
    return *this;
  }

  const std::string& bytes() const { return bytes_; }
  std::unique_ptr<GgufFile> parse() const {
    return GgufFile::parse(std::as_bytes(std::span(bytes_)), "image");
  }

 private:
  std::string bytes_;
};

}  // namespace serval
