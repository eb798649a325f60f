// HttpsClient: the few HTTP requests a pull needs, with the server treated as hostile: https only
// (plain http to loopback when allowed), at most three redirects, each checked again after the name
// was resolved, no credentials of any kind, no compressed bodies, sizes known before bytes are
// taken. Not thread-safe. Throws Error(kIo / kNotFound / kCancelled), TransientError when trying
// again helps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "serval/error.h"

namespace serval {

class TransientError : public Error {
 public:
  using Error::Error;
};

struct HttpsOptions {
  bool loopback_http = false;  // also http:// to 127.0.0.1 and localhost
  bool uses_proxy = false;     // addresses are then the proxy's: not checked
  std::function<bool()> cancelled;
};

struct RemoteFile {
  uint64_t size = 0;
  std::string validator;  // strong ETag, empty: none
  std::string sha256;     // as the hub states it, empty: it does not
  bool ranges = false;    // can be resumed
};

class HttpsClient {
 public:
  explicit HttpsClient(HttpsOptions options);
  ~HttpsClient();
  HttpsClient(const HttpsClient&) = delete;
  HttpsClient& operator=(const HttpsClient&) = delete;

  // What is there: asks for the first byte only.
  RemoteFile probe(const std::string& url);
  // Bytes [from, file.size) in order. Throws TransientError when the connection breaks, and
  // Error(kCorrupt) when the file has changed since `file` was probed.
  void get(const std::string& url, uint64_t from, const RemoteFile& file,
           const std::function<void(std::span<const std::byte>)>& sink);
  // A small document.
  std::string get_text(const std::string& url, size_t max_bytes);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// "libcurl/7.88.1 OpenSSL/3.0 ..."
std::string https_library();

}  // namespace serval
