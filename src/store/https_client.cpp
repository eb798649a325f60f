// One libcurl handle, one hop per curl_easy_perform. Redirects are followed by hand, because each
// new address must pass the same checks as the first: scheme, no user name, and (after DNS) not an
// address of this machine or its private network unless the user named that host himself.
#include "store/https_client.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstring>
#include <exception>
#include <optional>

#include "base/check.h"
#include "base/quoted.h"
#include "base/sha256.h"
#include "store/source.h"

namespace serval {
namespace {

constexpr int kMaxRedirects = 3;
constexpr long kConnectSeconds = 30;
constexpr long kStallSeconds = 60;
constexpr size_t kMaxHeaderLine = 16 * 1024;

bool is_private_v4(uint32_t a) {  // host order
  return (a >> 24) == 10 || (a >> 24) == 127 || (a >> 24) == 0 || (a >> 20) == 0xAC1 ||
         (a >> 16) == 0xC0A8 || (a >> 16) == 0xA9FE || (a >> 22) == (0x64400000U >> 22);
}

bool is_private(const sockaddr* address) {
  if (address->sa_family == AF_INET) {
    sockaddr_in v4 = {};
    std::memcpy(&v4, address, sizeof v4);
    return is_private_v4(ntohl(v4.sin_addr.s_addr));
  }
  if (address->sa_family != AF_INET6) return true;
  sockaddr_in6 v6 = {};
  std::memcpy(&v6, address, sizeof v6);
  const unsigned char* b = v6.sin6_addr.s6_addr;
  if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
    uint32_t inner = 0;
    std::memcpy(&inner, b + 12, 4);
    return is_private_v4(ntohl(inner));
  }
  return IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr) || IN6_IS_ADDR_UNSPECIFIED(&v6.sin6_addr) ||
         IN6_IS_ADDR_LINKLOCAL(&v6.sin6_addr) || (b[0] & 0xFE) == 0xFC;
}

std::optional<uint64_t> to_number(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

struct Headers {
  std::string location, etag, linked_etag, content_range, content_length, content_encoding;
};

// One request, as the callbacks see it.
struct Hop {
  CURL* curl = nullptr;
  const HttpsOptions* options = nullptr;
  bool refuse_private = false;
  bool refused_address = false;
  Headers headers;
  std::function<bool(long status, std::span<const std::byte>)> body;  // false: enough
  std::exception_ptr failure;
  bool ended_by_us = false;
};

curl_socket_t open_socket(void* user, curlsocktype, curl_sockaddr* address) {
  auto* hop = static_cast<Hop*>(user);
  if (hop->refuse_private && is_private(&address->addr)) {
    hop->refused_address = true;
    return CURL_SOCKET_BAD;
  }
  return ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

size_t on_header(char* data, size_t, size_t count, void* user) {
  auto* hop = static_cast<Hop*>(user);
  if (count > kMaxHeaderLine) return 0;
  const std::string_view line(data, count);
  if (line.starts_with("HTTP/")) hop->headers = {};
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return count;
  std::string name(line.substr(0, colon));
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  std::string_view value = line.substr(colon + 1);
  const auto space = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  while (!value.empty() && space(value.front())) value.remove_prefix(1);
  while (!value.empty() && space(value.back())) value.remove_suffix(1);
  Headers& h = hop->headers;
  if (name == "location") h.location = value;
  if (name == "etag") h.etag = value;
  if (name == "x-linked-etag") h.linked_etag = value;
  if (name == "content-range") h.content_range = value;
  if (name == "content-length") h.content_length = value;
  if (name == "content-encoding") h.content_encoding = value;
  return count;
}

size_t on_body(char* data, size_t, size_t count, void* user) {
  auto* hop = static_cast<Hop*>(user);
  long status = 0;
  curl_easy_getinfo(hop->curl, CURLINFO_RESPONSE_CODE, &status);
  try {
    if (hop->body(status, std::as_bytes(std::span(data, count)))) return count;
    hop->ended_by_us = true;
  } catch (...) {
    hop->failure = std::current_exception();  // no exception may cross libcurl
  }
  return 0;
}

int on_progress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  const auto* hop = static_cast<const Hop*>(user);
  return hop->options->cancelled && hop->options->cancelled() ? 1 : 0;
}

std::string strong_etag(const std::string& etag) {
  return etag.starts_with("W/") || etag.size() < 3 ? std::string() : etag;
}

std::string bare(std::string text) {
  text.erase(std::remove(text.begin(), text.end(), '"'), text.end());
  return text;
}

}  // namespace

struct HttpsClient::Impl {
  HttpsOptions options;
  CURL* curl = nullptr;
  std::string user_host;  // the host of the address the user or the catalogue named

  struct Reply {
    long status = 0;
    Headers headers;
    std::string linked_sha256;  // from any hop
  };

  void check_url(const std::string& url) const {
    const auto parts = split_url(url);
    const bool loopback =
        parts && parts->scheme == "http" && is_loopback_host(parts->host) && options.loopback_http;
    if (!parts || (parts->scheme != "https" && !loopback)) {
      throw Error(ErrorCode::kIo,
                  "refusing the address " + serval::quoted(url, 200) + ": only https:// is used");
    }
  }

  Reply perform(const std::string& url, const std::string& range, const std::string& validator,
                Hop& hop);
  Reply follow(std::string url, const std::string& range, const std::string& validator,
               const std::function<bool(long, std::span<const std::byte>)>& body);
};

HttpsClient::Impl::Reply HttpsClient::Impl::perform(const std::string& url,
                                                    const std::string& range,
                                                    const std::string& validator, Hop& hop) {
  check_url(url);
  const UrlParts parts = *split_url(url);
  const bool loopback = options.loopback_http && is_loopback_host(parts.host);
  hop.curl = curl;
  hop.options = &options;
  hop.refuse_private = !options.uses_proxy && parts.host != user_host;
  curl_easy_reset(curl);
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, loopback ? "https,http" : "https");
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(curl, CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "serval");
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, kStallSeconds);
  curl_easy_setopt(curl, CURLOPT_HTTP_CONTENT_DECODING, 0L);
  curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, 256L * 1024);
  if (loopback) curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
  curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, open_socket);
  curl_easy_setopt(curl, CURLOPT_OPENSOCKETDATA, &hop);
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &hop);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &hop);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &hop);
  if (!range.empty()) curl_easy_setopt(curl, CURLOPT_RANGE, range.c_str());
  curl_slist* headers = nullptr;
  if (!validator.empty()) headers = curl_slist_append(headers, ("If-Range: " + validator).c_str());
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
  const CURLcode code = curl_easy_perform(curl);
  curl_slist_free_all(headers);

  if (hop.failure) std::rethrow_exception(hop.failure);
  if (code == CURLE_ABORTED_BY_CALLBACK) throw Error(ErrorCode::kCancelled, "interrupted");
  if (hop.refused_address) {
    throw Error(ErrorCode::kIo, parts.host + ": refusing a redirect to a private address");
  }
  Reply reply;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &reply.status);
  if (code != CURLE_OK && !hop.ended_by_us) {
    const bool hopeless =
        code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE;
    const std::string message =
        fmt::format("{}: download failed: {}", parts.host, curl_easy_strerror(code));
    if (hopeless) throw Error(ErrorCode::kIo, message + "; check the machine's certificates");
    throw TransientError(ErrorCode::kIo, message);
  }
  reply.headers = hop.headers;
  return reply;
}

HttpsClient::Impl::Reply HttpsClient::Impl::follow(
    std::string url, const std::string& range, const std::string& validator,
    const std::function<bool(long, std::span<const std::byte>)>& body) {
  check_url(url);
  user_host = split_url(url)->host;
  std::string linked_sha256;
  for (int hops = 0;; ++hops) {
    Hop hop;
    hop.body = [&](long status, std::span<const std::byte> bytes) {
      if (status != 200 && status != 206) return true;  // the text of an error page: drop it
      if (!hop.headers.content_encoding.empty() && hop.headers.content_encoding != "identity") {
        throw Error(ErrorCode::kIo, user_host + ": the server sent a compressed body unasked");
      }
      return body(status, bytes);
    };
    // A validator belongs to the last server of the chain; earlier ones only redirect.
    Reply reply = perform(url, range, validator, hop);
    const std::string linked = bare(reply.headers.linked_etag);
    if (linked_sha256.empty() && is_sha256(linked)) linked_sha256 = linked;
    const bool redirect = reply.status == 301 || reply.status == 302 || reply.status == 303 ||
                          reply.status == 307 || reply.status == 308;
    if (!redirect) {
      reply.linked_sha256 = linked_sha256;
      return reply;
    }
    if (hops == kMaxRedirects) {
      throw Error(ErrorCode::kIo, user_host + ": more than three redirects; giving up");
    }
    char* next = nullptr;
    curl_easy_getinfo(curl, CURLINFO_REDIRECT_URL, &next);  // absolute, resolved against `url`
    if (next == nullptr) throw Error(ErrorCode::kIo, user_host + ": a redirect that leads nowhere");
    url = next;
  }
}

HttpsClient::HttpsClient(HttpsOptions options) : impl_(std::make_unique<Impl>()) {
  impl_->options = std::move(options);
  SERVAL_CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
  impl_->curl = curl_easy_init();
  SERVAL_CHECK(impl_->curl != nullptr);
}

HttpsClient::~HttpsClient() {
  curl_easy_cleanup(impl_->curl);
  curl_global_cleanup();
}

namespace {

[[noreturn]] void fail_status(const std::string& url, long status) {
  const std::string where = serval::quoted(url, 200);
  if (status == 404) {
    throw Error(ErrorCode::kNotFound, where + ": not found (HTTP 404); check the name");
  }
  if (status == 401 || status == 403) {
    throw Error(ErrorCode::kIo, fmt::format("{}: access refused (HTTP {}); the model may need a "
                                            "licence to be accepted on its page, download it there",
                                            where, status));
  }
  const std::string message = fmt::format("{}: the server answered HTTP {}", where, status);
  if (status == 408 || status == 429 || status >= 500)
    throw TransientError(ErrorCode::kIo, message);
  throw Error(ErrorCode::kIo, message);
}

}  // namespace

RemoteFile HttpsClient::probe(const std::string& url) {
  const auto reply = impl_->follow(url, "0-0", "", [](long, auto) { return false; });
  if (reply.status != 200 && reply.status != 206) fail_status(url, reply.status);
  RemoteFile file;
  file.validator = strong_etag(reply.headers.etag);
  file.sha256 = reply.linked_sha256;
  std::optional<uint64_t> size;
  if (reply.status == 206) {
    const std::string& range = reply.headers.content_range;  // "bytes 0-0/12345"
    const size_t slash = range.rfind('/');
    if (slash != std::string::npos) size = to_number(std::string_view(range).substr(slash + 1));
    file.ranges = true;
  } else {
    size = to_number(reply.headers.content_length);
  }
  if (!size || *size == 0) {
    throw Error(ErrorCode::kIo,
                serval::quoted(url, 200) + ": the server does not say how large the file is");
  }
  file.size = *size;
  return file;
}

void HttpsClient::get(const std::string& url, uint64_t from, const RemoteFile& file,
                      const std::function<void(std::span<const std::byte>)>& sink) {
  uint64_t at = from;
  const std::string range = from > 0 ? fmt::format("{}-", from) : std::string();
  const auto reply = impl_->follow(
      url, range, from > 0 ? file.validator : "",
      [&](long status, std::span<const std::byte> bytes) {
        if (from > 0 && status != 206) {
          throw Error(ErrorCode::kCorrupt,
                      serval::quoted(url, 200) + ": the file changed on the server");
        }
        if (bytes.size() > file.size - at) {
          throw Error(ErrorCode::kCorrupt,
                      serval::quoted(url, 200) + ": the server sends more than it said");
        }
        sink(bytes);
        at += bytes.size();
        return true;
      });
  if (reply.status != 200 && reply.status != 206) fail_status(url, reply.status);
  if (at != file.size) {
    throw TransientError(ErrorCode::kIo,
                         fmt::format("{}: the connection ended after {} of {} bytes",
                                     serval::quoted(url, 200), at, file.size));
  }
}

std::string HttpsClient::get_text(const std::string& url, size_t max_bytes) {
  std::string text;
  const auto reply = impl_->follow(url, "", "", [&](long, std::span<const std::byte> bytes) {
    if (bytes.size() > max_bytes - text.size()) {
      throw Error(ErrorCode::kIo, serval::quoted(url, 200) + ": the answer is too long");
    }
    text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return true;
  });
  if (reply.status != 200) fail_status(url, reply.status);
  return text;
}

std::string https_library() {
  const curl_version_info_data* v = curl_version_info(CURLVERSION_NOW);
  return fmt::format("libcurl {}, {}", v->version, v->ssl_version == nullptr ? "" : v->ssl_version);
}

}  // namespace serval
