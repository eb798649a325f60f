// Order of the checks on a head, from cheap and general to particular: Host, Origin, route, key,
// method's needs (content type), drain. Nothing of the body has been read then, so a client without
// a key cannot make us hold eight megabytes.
//
// Two worker threads, one for small bodies and one for large ones: tokenising a book must not keep
// short chats waiting.
#include "server/server.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "server/http/listener.h"
#include "server/http/origin.h"
#include "server/http/tls.h"
#include "server/openai/api_error.h"
#include "server/router.h"

namespace serval {
namespace {

namespace json = boost::json;

constexpr size_t kLargeBody = 64 * 1024;
constexpr std::string_view kBearer = "bearer ";

bool starts_with_ignoring_case(std::string_view text, std::string_view lower) {
  return text.size() >= lower.size() &&
         std::equal(lower.begin(), lower.end(), text.begin(), [](char l, char c) {
           return l == (c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c);
         });
}

std::string_view presented_key(const HttpRequest& head) {
  const std::string_view authorization = head.header("authorization");
  if (starts_with_ignoring_case(authorization, kBearer)) {
    return authorization.substr(kBearer.size());
  }
  return head.header("x-api-key");
}

bool is_json(std::string_view content_type) {
  constexpr std::string_view kJson = "application/json";
  return starts_with_ignoring_case(content_type, kJson) &&
         (content_type.size() == kJson.size() || content_type[kJson.size()] == ';' ||
          content_type[kJson.size()] == ' ');
}

// A name by which only this machine reaches itself. 0.0.0.0 is what --host 0.0.0.0 prints.
bool means_here(std::string_view host_field) {
  const std::string name = host_name(host_field);
  return is_loopback(name) || name == "0.0.0.0" || name == "::";
}

// Not merely passed on by a proxy of this machine: those say so, or pass on the public name they
// were asked for.
bool is_from_here(const HttpRequest& head) {
  const std::string_view host = head.header("host");
  return head.local && (host.empty() || means_here(host)) && head.header_count("forwarded") == 0 &&
         head.header_count("x-forwarded-for") == 0 && head.header_count("x-real-ip") == 0;
}

Admission refused(const ApiError& error) {
  Admission admission;
  admission.refusal = error_response(error);
  return admission;
}

}  // namespace

void check_exposure(const ServerConfig& config) {
  if (config.host.empty() || is_loopback(config.host) || !config.keys.empty() ||
      config.allow_no_keys) {
    return;
  }
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("--host {} lets others use this server without a key; give --keys FILE, "
                          "or --insecure-no-auth if that is meant",
                          config.host));
}

struct Server::Impl final : HttpHandler {
  Impl(ServerConfig server_config, std::unique_ptr<Engine> loaded)
      : config(std::move(server_config)),
        engine_owner(std::move(loaded)),
        service(*engine_owner, config.service),
        host_check(config.host, config.hosts),
        tls(config.certificate_file.empty()
                ? nullptr
                : make_tls_context(config.certificate_file, config.key_file)),
        listener({config.host, config.port, config.unix_path, tls.get()},
                 ConnectionEnv{*this, config.limits, service.connections()}, config.io_threads) {}

  // Workers first: they use everything else. Then the engine, whose last events still find the
  // listener's strands.
  ~Impl() override {
    small_bodies.join();
    large_bodies.join();
    service.snapshots().join();
    service.monitor().stop();
    engine_owner.reset();
  }

  Admission admit(const HttpRequest& head) override;
  void handle(const ExchangePtr& exchange) override;
  HttpResponse refuse(int status, std::string_view reason) override;
  void finished(const HttpRequest& request, const std::string& id, const std::string& key_name,
                int status, double seconds) override;
  bool draining() const override { return service.draining(); }

  void note_reply(const HttpRequest& request, const std::string& key_name, int status,
                  double seconds, const std::optional<RequestCost>& cost);
  Admission admit_route(const HttpRequest& head);
  std::optional<ApiError> check_key(const HttpRequest& head, Access access, std::string& name);
  bool origin_allowed(const HttpRequest& head, std::string_view origin) const;

  ServerConfig config;
  std::unique_ptr<Engine> engine_owner;
  Service service;
  HostCheck host_check;
  std::unique_ptr<TlsContext> tls;
  Listener listener;
  boost::asio::thread_pool small_bodies{1}, large_bodies{1};
};

bool Server::Impl::origin_allowed(const HttpRequest& head, std::string_view origin) const {
  if (std::find(config.origins.begin(), config.origins.end(), origin) != config.origins.end()) {
    return true;
  }
  // A page that we served ourselves.
  const std::string_view scheme = tls == nullptr ? "http" : "https";
  return origin == fmt::format("{}://{}", scheme, head.header("host"));
}

Admission Server::Impl::admit(const HttpRequest& head) {
  if (head.header_count("host") == 0) {
    if (head.http11) return refused(protocol_error(400, "the Host field is missing"));
  } else if (!host_check.accepts(head.header("host"))) {
    return refused(
        forbidden("this server does not go by that Host; see --allow-host", "host_not_allowed"));
  }
  const std::string_view origin = head.header("origin");
  if (origin.empty()) return admit_route(head);
  if (!origin_allowed(head, origin)) {
    return refused(forbidden("this Origin may not call; see --cors-origin", "origin_not_allowed"));
  }
  Admission admission;
  if (head.method == "OPTIONS") {
    HttpResponse preflight;
    preflight.status = 204;
    preflight.content_type.clear();
    preflight.headers = {
        {"Access-Control-Allow-Methods", "GET, POST, PUT, DELETE"},
        {"Access-Control-Allow-Headers", "authorization, content-type, x-api-key, x-request-id"},
        {"Access-Control-Max-Age", "600"}};
    admission.refusal = std::move(preflight);
  } else {
    admission = admit_route(head);
  }
  admission.headers.emplace_back("Access-Control-Allow-Origin", std::string(origin));
  admission.headers.emplace_back("Vary", "Origin");
  return admission;
}

Admission Server::Impl::admit_route(const HttpRequest& head) {
  const RouteMatch match = find_route(head.method, head.path);
  if (match.route == nullptr && match.allowed.empty()) {
    return refused(protocol_error(404, fmt::format("there is no {}", head.path.substr(0, 200))));
  }
  if (match.route == nullptr) {
    Admission admission =
        refused(protocol_error(405, fmt::format("{} understands {}", head.path, match.allowed)));
    admission.refusal->headers.emplace_back("Allow", match.allowed);
    return admission;
  }
  std::string key_name;
  if (const auto error = check_key(head, match.route->access, key_name)) return refused(*error);
  // A POST without a body (".../load") has no type to state.
  const std::string_view length = head.header("content-length");
  const bool has_body =
      head.header_count("transfer-encoding") > 0 || (!length.empty() && length != "0");
  if (match.route->method == "POST" && has_body && !is_json(head.header("content-type"))) {
    return refused(protocol_error(415, "send Content-Type: application/json"));
  }
  if (service.draining() && match.route->access == Access::kUse) {
    return refused(overloaded("the server is shutting down"));
  }
  Admission admission;
  admission.key_name = std::move(key_name);
  return admission;
}

std::optional<ApiError> Server::Impl::check_key(const HttpRequest& head, Access access,
                                                std::string& name) {
  if (access == Access::kOpen) return std::nullopt;
  const bool keyless = config.keys.empty();
  if (keyless && access != Access::kAdmin && access != Access::kOwn) return std::nullopt;
  if (keyless && config.admin_keys.empty()) {
    if (is_from_here(head)) return std::nullopt;
    return forbidden("without an admin key (--admin-key-file), only this machine may ask for this",
                     "insufficient_permissions");
  }
  const std::string_view presented = presented_key(head);
  if (presented.empty()) {
    return unauthorized("a key is needed: send Authorization: Bearer KEY");
  }
  const ApiKey* key = config.keys.find(presented);
  if (key == nullptr) key = config.admin_keys.find(presented);
  if (key == nullptr) return unauthorized("the key is not valid");
  if (!allows(key->key_class, access)) {
    return forbidden("this key may not be used here", "insufficient_permissions");
  }
  // Without keys all requests are nobody's: that is what an admin then asks for.
  if (!(keyless && access == Access::kOwn)) name = key->name;
  return std::nullopt;
}

void Server::Impl::handle(const ExchangePtr& exchange) {
  const HttpRequest& request = exchange->request();
  const Route* route = find_route(request.method, request.path).route;
  if (route->lane == Lane::kInline) {
    route->run(service, exchange);
    exchange->forget_body();
    return;
  }
  auto& lane = request.body.size() > kLargeBody ? large_bodies : small_bodies;
  boost::asio::post(lane, [this, exchange, run = route->run] {
    // World faults (no memory) end one request, not the server.
    try {
      run(service, exchange);
    } catch (const Error& error) {
      exchange->post([exchange, error] { exchange->reply(error_response(from_engine(error))); });
    } catch (const std::exception&) {
      exchange->post([exchange] {
        exchange->reply(error_response(from_engine(Error(ErrorCode::kInternal, ""))));
      });
    }
    exchange->forget_body();
  });
}

HttpResponse Server::Impl::refuse(int status, std::string_view reason) {
  return error_response(protocol_error(status, std::string(reason)));
}

void Server::Impl::finished(const HttpRequest& request, const std::string& id,
                            const std::string& key_name, int status, double seconds) {
  service.metrics().count_reply(status);
  const auto cost = service.take_note(id);
  note_reply(request, key_name, status, seconds, cost);
  if (!config.access_log) return;
  const int64_t milliseconds = static_cast<int64_t>(seconds * 1000);
  json::object line{{"request", id},
                    {"method", request.method},
                    {"path", request.path},
                    {"status", status},
                    {"ms", milliseconds}};
  if (!key_name.empty()) line["key"] = key_name;
  if (cost) {
    line["choices"] = cost->choices;
    line["prompt_tokens"] = cost->usage.prompt_tokens;
    line["cached_tokens"] = cost->usage.cached_tokens;
    line["completion_tokens"] = cost->usage.completion_tokens;
    line["queue_ms"] = cost->timings.queue_ms;
    line["prompt_ms"] = cost->timings.prompt_ms;
    line["predicted_ms"] = cost->timings.predicted_ms;
  }
  config.access_log(json::serialize(line));
}

// For the monitor: nothing in it was written by a client. Successful looks at the server itself
// would push everything else out.
void Server::Impl::note_reply(const HttpRequest& request, const std::string& key_name, int status,
                              double seconds, const std::optional<RequestCost>& cost) {
  const Route* route = find_route(request.method, request.path).route;
  const bool looks = route != nullptr && route->method == "GET" && route->access != Access::kUse;
  if (looks && status < 400) return;
  json::object facts{{"route", route == nullptr ? "none" : route->path},
                     {"status", status},
                     {"ms", static_cast<int64_t>(seconds * 1000)}};
  if (!key_name.empty()) facts["key"] = key_name;
  if (cost) {
    if (cost->request > 0) facts["request"] = cost->request;
    facts["prompt_tokens"] = cost->usage.prompt_tokens;
    facts["cached_tokens"] = cost->usage.cached_tokens;
    facts["completion_tokens"] = cost->usage.completion_tokens;
    facts["queue_ms"] = static_cast<int64_t>(cost->timings.queue_ms);
  }
  const LogLevel level = status >= 500   ? LogLevel::kError
                         : status >= 400 ? LogLevel::kWarn
                                         : LogLevel::kInfo;
  service.monitor().log().add(level, "reply", facts);
}

Server::Server(ServerConfig config, std::unique_ptr<Engine> engine) {
  check_exposure(config);
  impl_ = std::make_unique<Impl>(std::move(config), std::move(engine));
}

Server::~Server() = default;

int Server::port() const { return impl_->listener.port(); }

void Server::run() {
  impl_->listener.run(
      impl_->config.drain_time, [this] { impl_->service.start_drain(); },
      [this] { impl_->service.cancel_all(); });
}

}  // namespace serval
