// GET /, /monitor, /assets/*: the page, from memory. Files under /assets carry a hash of their
// bytes in their name and never change; the two pages are asked for anew each time and mostly
// answered 304.
//
// The policy lets nothing in that this server did not send: no inline script or style, no foreign
// image, no frame. A model's answer may hold any HTML; even what slips through the page's own
// cleaning neither runs nor loads.
#include <algorithm>
#include <boost/beast/zlib/inflate_stream.hpp>
#include <utility>

#include "base/check.h"
#include "server/http/message.h"
#include "server/routes/answer.h"
#include "server/routes/routes.h"
#include "server/web_assets.h"

namespace serval {
namespace {

constexpr std::string_view kPage = "/index.html";
constexpr std::string_view kHashedFolder = "/assets/";
constexpr size_t kGzipHead = 10, kGzipTail = 8;  // RFC 1952, without any optional field
constexpr const char* kPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types dompurify";

const WebAsset* find_asset(std::string_view path) {
  const auto assets = web_assets();
  const auto found = std::find_if(assets.begin(), assets.end(),
                                  [&](const WebAsset& asset) { return asset.path == path; });
  return found == assets.end() ? nullptr : &*found;
}

// "gzip" is named and not refused by a quality of zero (RFC 9110, section 12.5.3).
bool takes_gzip(std::string_view accepted) {
  const size_t at = accepted.find("gzip");
  if (at == std::string_view::npos) return false;
  const std::string_view coding = accepted.substr(at, accepted.find(',', at) - at);
  const size_t quality = coding.find("q=");
  return quality == std::string_view::npos ||
         coding.substr(quality + 2).find_first_not_of("0. ") != std::string_view::npos;
}

std::string inflate(std::string_view gzip) {
  // The last four bytes are the length before compression, little-endian.
  size_t length = 0;
  for (size_t i = 0; i < 4; ++i) {
    length |= static_cast<size_t>(static_cast<unsigned char>(gzip[gzip.size() - 4 + i])) << (8 * i);
  }
  std::string out(length, '\0');
  boost::beast::zlib::z_params params;
  params.next_in = gzip.data() + kGzipHead;
  params.avail_in = gzip.size() - kGzipHead - kGzipTail;
  params.next_out = out.data();
  params.avail_out = out.size();
  boost::system::error_code error;
  boost::beast::zlib::inflate_stream stream;
  stream.write(params, boost::beast::zlib::Flush::finish, error);
  SERVAL_CHECK(params.avail_out == 0);  // the build wrote these bytes
  return out;
}

HeaderList headers_of(const WebAsset& asset, const std::string& etag) {
  const bool hashed = asset.path.starts_with(kHashedFolder);
  return {{"ETag", etag},
          {"Cache-Control", hashed ? "public, max-age=31536000, immutable" : "no-cache"},
          {"Vary", "Accept-Encoding"},
          {"Content-Security-Policy", kPolicy},
          {"X-Content-Type-Options", "nosniff"},
          {"Referrer-Policy", "no-referrer"},
          {"Cross-Origin-Opener-Policy", "same-origin"}};
}

}  // namespace

void web(Service&, const ExchangePtr& exchange) {
  const HttpRequest& request = exchange->request();
  const bool file = request.path.starts_with(kHashedFolder);
  const WebAsset* asset = find_asset(file ? std::string_view(request.path) : kPage);
  if (asset == nullptr) {
    answer_error(exchange, protocol_error(404, file ? "there is no such file of the page"
                                                    : "this server was built without a page"));
    return;
  }
  // Weak: the same for the packed and the unpacked form.
  const std::string etag = "W/\"" + std::string(asset->sha256.substr(0, 32)) + '"';
  HttpResponse response;
  response.headers = headers_of(*asset, etag);
  if (request.header("if-none-match").find(etag) != std::string_view::npos) {
    response.status = 304;
    response.content_type.clear();
    answer(exchange, std::move(response));
    return;
  }
  response.content_type = std::string(asset->type);
  if (takes_gzip(request.header("accept-encoding"))) {
    response.headers.emplace_back("Content-Encoding", "gzip");
    response.body = std::string(asset->gzip.view());
  } else {
    response.body = inflate(asset->gzip.view());
  }
  answer(exchange, std::move(response));
}

}  // namespace serval
