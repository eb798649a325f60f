// Accepting never stops for a full table of connections: a client over the limit gets a 503 it can
// understand, and only when even those pile up is it closed unanswered. During a drain the sockets
// stay open, so that load balancers see /readyz fail rather than a refused connection.
#include "server/http/listener.h"

#include <fmt/format.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <csignal>
#include <list>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "serval/error.h"

namespace serval {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using tcp = asio::ip::tcp;
using local = asio::local::stream_protocol;

constexpr int kPoliteRefusals = 64;       // connections over the limit that still get an answer
constexpr int kAddressConnections = 64;   // of other machines, when nothing else is asked for
constexpr int kKernelUnsent = 16 * 1024;  // what the kernel takes before it says "not yet"
constexpr auto kAcceptPause = std::chrono::milliseconds(100);
constexpr auto kDrainPoll = std::chrono::milliseconds(20);
constexpr auto kLastGrace = std::chrono::milliseconds(3000);

Error io_error(const std::string& where, const error_code& error) {
  return {ErrorCode::kIo, fmt::format("cannot listen on {}: {}; choose another with --host, --port "
                                      "or --unix",
                                      where, error.message())};
}

// A socket file left by a process that was killed is in the way; one that answers is not ours.
void remove_stale_socket(asio::io_context& io, const std::string& path) {
  struct stat status = {};
  if (::lstat(path.c_str(), &status) != 0) return;
  if (!S_ISSOCK(status.st_mode)) {
    throw Error(ErrorCode::kIo, fmt::format("--unix {}: exists and is not a socket", path));
  }
  error_code error;
  local::socket probe(io);
  probe.connect(local::endpoint(path), error);
  if (!error) {
    throw Error(ErrorCode::kIo, fmt::format("--unix {}: another process serves it", path));
  }
  ::unlink(path.c_str());
}

// Who a connection comes from, for counting: the host in IPv4, the usual subnet of a site in IPv6.
std::string address_of(const asio::ip::address& address) {
  if (address.is_v4()) return address.to_string();
  const auto v6 = address.to_v6();
  if (v6.is_v4_mapped()) {
    return asio::ip::make_address_v4(asio::ip::v4_mapped, v6).to_string();
  }
  const auto bytes = v6.to_bytes();
  return {reinterpret_cast<const char*>(bytes.data()), 8};
}

// How many connections each address has. Outlives the connections it counts.
class AddressTable : public std::enable_shared_from_this<AddressTable> {
 public:
  // Null when the address has `most` already. The connection holds what is returned.
  std::shared_ptr<void> take(const std::string& address, int most) {
    const std::lock_guard lock(mutex_);
    int& count = counts_[address];
    if (count >= most) return nullptr;
    ++count;
    return {this, [self = shared_from_this(), address](void*) { self->give_back(address); }};
  }

 private:
  void give_back(const std::string& address) {
    const std::lock_guard lock(mutex_);
    const auto found = counts_.find(address);
    if (--found->second == 0) counts_.erase(found);
  }

  std::mutex mutex_;
  std::map<std::string, int> counts_;
};

}  // namespace

struct Listener::Impl {
  explicit Impl(const ConnectionEnv& environment) : env(environment) {}

  void listen_tcp(const std::string& host, int port);
  void listen_unix(const std::string& path);
  template <typename Acceptor>
  void accept(Acceptor& acceptor);
  void take(tcp::socket socket);
  void take(local::socket socket);
  void start(Socket socket, ConnectionStart how);
  void begin_drain();
  void poll_drain();
  void on_signal();
  void run_io();

  const ConnectionEnv env;
  asio::io_context io;
  std::list<tcp::acceptor> tcp_acceptors;
  std::list<local::acceptor> local_acceptors;
  std::string unix_path;
  TlsContext* tls = nullptr;
  const std::shared_ptr<AddressTable> addresses = std::make_shared<AddressTable>();
  asio::signal_set signals{io};
  asio::steady_timer drain_timer{io};
  int threads = 1;

  std::mutex mutex;  // guards connections
  std::list<std::weak_ptr<Connection>> connections;

  bool draining = false, deadline_passed = false;
  std::chrono::steady_clock::time_point drain_deadline;
  std::chrono::milliseconds drain_time{};
  std::function<void()> on_drain, on_deadline;
};

void Listener::Impl::listen_tcp(const std::string& host, int port) {
  const std::string where = fmt::format("{}:{}", host, port);
  error_code error;
  tcp::resolver resolver(io);
  const auto found = resolver.resolve(host, std::to_string(port), tcp::resolver::passive, error);
  if (error) throw io_error(where, error);
  // "localhost" is two addresses; a missing IPv6 is no reason to fail when IPv4 works.
  for (const auto& entry : found) {
    tcp::acceptor acceptor(io);
    const tcp::endpoint wanted = entry.endpoint();
    tcp::endpoint endpoint = wanted;
    if (port == 0 && !tcp_acceptors.empty()) {
      endpoint.port(tcp_acceptors.front().local_endpoint().port());
    }
    acceptor.open(endpoint.protocol(), error);
    if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error && endpoint.address().is_v6()) {
      acceptor.set_option(asio::ip::v6_only(true), error);
    }
    if (!error) acceptor.bind(endpoint, error);
    if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
    if (!error) {
      tcp_acceptors.push_back(std::move(acceptor));
    } else if (error == asio::error::address_in_use) {
      throw io_error(where, error);
    }
  }
  if (tcp_acceptors.empty()) throw io_error(where, error);
}

void Listener::Impl::listen_unix(const std::string& path) {
  if (path.size() >= sizeof(sockaddr_un{}.sun_path)) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("--unix: the path has {} bytes, but a socket's may have {}",
                            path.size(), sizeof(sockaddr_un{}.sun_path) - 1));
  }
  remove_stale_socket(io, path);
  error_code error;
  local::acceptor acceptor(io);
  acceptor.open(local(), error);
  // The mode must be right from the first moment the name exists.
  const mode_t before = ::umask(0177);
  if (!error) acceptor.bind(local::endpoint(path), error);
  ::umask(before);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) throw io_error(path, error);
  unix_path = path;
  local_acceptors.push_back(std::move(acceptor));
}

template <typename Acceptor>
void Listener::Impl::accept(Acceptor& acceptor) {
  acceptor.async_accept(asio::make_strand(io), [this, &acceptor](error_code error, auto socket) {
    if (error == asio::error::operation_aborted) return;
    if (error) {  // out of descriptors, most likely: let some come back
      auto pause = std::make_shared<asio::steady_timer>(io, kAcceptPause);
      pause->async_wait([this, pause, &acceptor](error_code stopped) {
        if (!stopped) accept(acceptor);
      });
      return;
    }
    take(std::move(socket));
    accept(acceptor);
  });
}

void Listener::Impl::take(tcp::socket socket) {
  error_code error;
  socket.set_option(tcp::no_delay(true), error);
  // A reader that is behind shows early, and its unsent bytes wait where they are counted.
  using NotSent = asio::detail::socket_option::integer<IPPROTO_TCP, TCP_NOTSENT_LOWAT>;
  socket.set_option(NotSent(kKernelUnsent), error);
  const tcp::endpoint peer = socket.remote_endpoint(error);
  if (error) return;  // gone already
  ConnectionStart how;
  how.tls = tls;
  how.local = peer.address().is_loopback();
  const auto& most = env.limits.address_connections;
  if (most || !peer.address().is_loopback()) {
    how.place = addresses->take(address_of(peer.address()), most.value_or(kAddressConnections));
    how.over_limit = how.place == nullptr;
    if (how.over_limit) env.counts.hit(Limit::kAddressConnections);
  }
  start(Socket(std::move(socket)), std::move(how));
}

void Listener::Impl::take(local::socket socket) {
  ConnectionStart how;
  how.local = true;
  start(Socket(std::move(socket)), std::move(how));
}

void Listener::Impl::start(Socket socket, ConnectionStart how) {
  ++env.counts.accepted;
  const int open = env.counts.open.load();
  if (open >= env.limits.connections) {
    how.over_limit = true;
    env.counts.hit(Limit::kConnections);
  }
  if (open >= env.limits.connections + kPoliteRefusals) return;  // closes it
  auto connection = start_connection(std::move(socket), env, std::move(how));
  const std::lock_guard lock(mutex);
  if (connections.size() > 2 * static_cast<size_t>(open) + 64) {
    connections.remove_if([](const auto& entry) { return entry.expired(); });
  }
  connections.push_back(connection);
}

void Listener::Impl::on_signal() {
  signals.async_wait([this](error_code error, int number) {
    if (error) return;
    if (draining) ::_exit(128 + number);
    begin_drain();
    on_signal();
  });
}

void Listener::Impl::begin_drain() {
  draining = true;
  drain_deadline = std::chrono::steady_clock::now() + drain_time;
  on_drain();
  poll_drain();
}

// Connections are few and a drain is short: polling is simpler than counting them down.
void Listener::Impl::poll_drain() {
  {
    const std::lock_guard lock(mutex);
    for (const auto& entry : connections) {
      if (const auto connection = entry.lock()) connection->drain();
    }
  }
  const auto now = std::chrono::steady_clock::now();
  if (env.counts.open == 0 || now > drain_deadline + kLastGrace) {
    io.stop();
    return;
  }
  if (now > drain_deadline && !deadline_passed) {
    deadline_passed = true;
    on_deadline();
  }
  drain_timer.expires_after(kDrainPoll);
  drain_timer.async_wait([this](error_code error) {
    if (!error) poll_drain();
  });
}

// What a handler throws (no memory, in practice) ends its connection, which nothing holds any more.
void Listener::Impl::run_io() {
  while (!io.stopped()) {
    try {
      io.run();
    } catch (const std::exception&) {
      ++env.counts.faults;
    }
  }
}

Listener::Listener(const ListenAddress& address, const ConnectionEnv& env, int io_threads)
    : impl_(std::make_unique<Impl>(env)) {
  impl_->threads = io_threads;
  impl_->tls = address.tls;
  if (!address.host.empty()) impl_->listen_tcp(address.host, address.port);
  if (!address.unix_path.empty()) impl_->listen_unix(address.unix_path);
}

Listener::~Listener() {
  if (!impl_->unix_path.empty()) ::unlink(impl_->unix_path.c_str());
}

int Listener::port() const {
  return impl_->tcp_acceptors.empty() ? 0 : impl_->tcp_acceptors.front().local_endpoint().port();
}

void Listener::run(std::chrono::milliseconds drain_time, const std::function<void()>& on_drain,
                   const std::function<void()>& on_deadline) {
  impl_->drain_time = drain_time;
  impl_->on_drain = on_drain;
  impl_->on_deadline = on_deadline;
  impl_->signals.add(SIGINT);
  impl_->signals.add(SIGTERM);
  impl_->on_signal();
  for (auto& acceptor : impl_->tcp_acceptors) impl_->accept(acceptor);
  for (auto& acceptor : impl_->local_acceptors) impl_->accept(acceptor);
  std::vector<std::thread> others;
  for (int i = 1; i < impl_->threads; ++i) {
    others.emplace_back([this] { impl_->run_io(); });
  }
  impl_->run_io();
  for (std::thread& thread : others) thread.join();
}

}  // namespace serval
