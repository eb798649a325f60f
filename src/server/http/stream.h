// Stream: a connection's socket, TCP or Unix, plain or under TLS. One type for all of them, so that
// there is one Connection.
//
// Owned by its connection; everything runs on the socket's strand. One read and one write may be
// under way together.
#pragma once

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <optional>
#include <utility>

namespace serval {

using Socket = boost::asio::generic::stream_protocol::socket;
using TlsContext = boost::asio::ssl::context;

class Stream {
 public:
  // `tls` may be null: then nothing is encrypted.
  Stream(Socket socket, TlsContext* tls) : socket_(std::move(socket)) {
    if (tls != nullptr) tls_.emplace(socket_, *tls);
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  auto get_executor() { return socket_.get_executor(); }
  bool secure() const { return tls_.has_value(); }

  // REQUIRES: secure()
  template <typename Handler>
  void async_handshake(Handler&& handler) {
    tls_->async_handshake(boost::asio::ssl::stream_base::server, std::forward<Handler>(handler));
  }

  template <typename Buffer, typename Handler>
  void async_read_some(const Buffer& buffer, Handler&& handler) {
    if (tls_) {
      tls_->async_read_some(buffer, std::forward<Handler>(handler));
    } else {
      socket_.async_read_some(buffer, std::forward<Handler>(handler));
    }
  }

  template <typename Buffer, typename Handler>
  void async_write_some(const Buffer& buffer, Handler&& handler) {
    if (tls_) {
      tls_->async_write_some(buffer, std::forward<Handler>(handler));
    } else {
      socket_.async_write_some(buffer, std::forward<Handler>(handler));
    }
  }

  // Tells the other side that no more will come, while what it still sends can be read. `handler`
  // keeps the stream alive until that is on its way.
  template <typename Handler>
  void end_output(Handler&& handler) {
    boost::system::error_code ignored;
    if (tls_) {
      tls_->async_shutdown(std::forward<Handler>(handler));
    } else {
      socket_.shutdown(Socket::shutdown_send, ignored);
    }
  }

  void close() {
    boost::system::error_code ignored;
    socket_.close(ignored);
  }

 private:
  Socket socket_;
  std::optional<boost::asio::ssl::stream<Socket&>> tls_;
};

}  // namespace serval
