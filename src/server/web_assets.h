// The page's files, as the build embeds them (cmake/EmbedAssets.cmake makes the table from
// web/dist).
#pragma once

#include <span>
#include <string_view>

namespace serval {

struct PackedBytes {
  constexpr PackedBytes(const char* begin, const char* end) : begin_(begin), end_(end) {}
  std::string_view view() const { return {begin_, static_cast<size_t>(end_ - begin_)}; }

 private:
  const char *begin_, *end_;
};

struct WebAsset {
  std::string_view path;  // "/index.html", "/assets/main-1a2b3c4d.js"
  std::string_view type;
  std::string_view sha256;  // of the bytes before gzip, in hexadecimal digits
  PackedBytes gzip;         // as `gzip -9n` writes it: no name, no time
};

// Empty when the server was built without a page.
std::span<const WebAsset> web_assets();

}  // namespace serval
