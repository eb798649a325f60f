// HTTP requests and replies as plain values; no sockets.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/http/body.h"

namespace serval {

using HeaderList = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method;
  std::string path;    // percent-decoded, without the query
  std::string query;   // as sent
  HeaderList headers;  // names in lower case, in the order received
  std::string body;
  BodyCharge body_charge;
  bool http11 = true;
  bool local = false;  // from this machine
  bool keep_alive = true;

  // The value of the first field of that lower-case name; empty when there is none.
  std::string_view header(std::string_view name) const;
  size_t header_count(std::string_view name) const;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  HeaderList headers;
  std::string body;
};

std::string_view reason_phrase(int status);

// Decodes %XX; false for a broken escape, a control character or invalid UTF-8.
bool percent_decode(std::string_view text, std::string& out);

// Status line and fields of a reply, blank line included. Exactly one of the framings applies:
// `Content-Length` when `length` is given, else chunked for HTTP/1.1, else until close.
struct ReplyFraming {
  bool chunked = false;
  bool has_length = true;
  size_t length = 0;
  bool close = false;
};
std::string reply_head(int status, std::string_view content_type, const HeaderList& headers,
                       const ReplyFraming& framing);

}  // namespace serval
