// What is switched on follows Mozilla's "intermediate" recommendation: TLS 1.2 with ephemeral keys
// and authenticated ciphers, TLS 1.3 as it is. Renegotiation, which lets a client make the server
// work for nothing, and compression are off. Of application protocols we speak one, HTTP/1.1.
#include "server/http/tls.h"

#include <fmt/format.h>
#include <openssl/ssl.h>

#include <string_view>

#include "serval/error.h"

namespace serval {
namespace {

namespace ssl = boost::asio::ssl;
using boost::system::error_code;

constexpr const char* kCiphers =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
constexpr std::string_view kHttp11 = "\x08http/1.1";  // length, then name, as RFC 7301 has it

void require(const error_code& error, std::string_view option, const std::string& file) {
  if (!error) return;
  throw Error(ErrorCode::kIo, fmt::format("{} {}: {}; it must be a readable PEM file", option, file,
                                          error.message()));
}

int choose_protocol(SSL*, const unsigned char** chosen, unsigned char* size,
                    const unsigned char* offered, unsigned int offered_size, void*) {
  unsigned char* found = nullptr;
  const int outcome =
      SSL_select_next_proto(&found, size, reinterpret_cast<const unsigned char*>(kHttp11.data()),
                            static_cast<unsigned>(kHttp11.size()), offered, offered_size);
  *chosen = found;
  // Who offers only others is told so now; its bytes would not be HTTP/1.1.
  return outcome == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

}  // namespace

std::unique_ptr<ssl::context> make_tls_context(const std::string& certificate_file,
                                               const std::string& key_file) {
  auto context = std::make_unique<ssl::context>(ssl::context::tls_server);
  SSL_CTX* const native = context->native_handle();
  SSL_CTX_set_min_proto_version(native, TLS1_2_VERSION);
  SSL_CTX_set_options(native, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_mode(native, SSL_MODE_RELEASE_BUFFERS);  // an idle connection keeps none
  // Sessions resume by tickets, which the client keeps; a cache of ours could be filled.
  SSL_CTX_set_session_cache_mode(native, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_alpn_select_cb(native, choose_protocol, nullptr);
  if (SSL_CTX_set_cipher_list(native, kCiphers) != 1) {
    throw Error(ErrorCode::kUnsupported, "this OpenSSL has none of the ciphers for TLS 1.2");
  }
  error_code error;
  context->use_certificate_chain_file(certificate_file, error);
  require(error, "--ssl-cert-file", certificate_file);
  context->use_private_key_file(key_file, ssl::context::pem, error);
  require(error, "--ssl-key-file", key_file);
  if (SSL_CTX_check_private_key(native) != 1) {
    throw Error(ErrorCode::kIo,
                fmt::format("--ssl-key-file {}: is not the key of {}", key_file, certificate_file));
  }
  return context;
}

}  // namespace serval
