// The server's side of TLS.
#pragma once

#include <boost/asio/ssl/context.hpp>
#include <memory>
#include <string>

namespace serval {

// A certificate chain and its key, both PEM. TLS 1.2 and 1.3 with forward secrecy only. Throws
// Error naming the file that cannot be used.
std::unique_ptr<boost::asio::ssl::context> make_tls_context(const std::string& certificate_file,
                                                            const std::string& key_file);

}  // namespace serval
