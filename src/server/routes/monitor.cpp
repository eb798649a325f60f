// The monitor's routes; docs/reference/monitor.md says what they answer.
#include "server/monitor/monitor.h"

#include "server/routes/answer.h"
#include "server/routes/query.h"
#include "server/routes/routes.h"

namespace serval {
namespace {

constexpr int kDefaultHz = 2;
constexpr int64_t kDaySeconds = 86'400;
constexpr int64_t kHourSeconds = 3'600;
constexpr std::string_view kRequests = "/admin/monitor/request/";
constexpr std::string_view kActions = "/admin/requests/";
constexpr std::string_view kOwn = "/v1/requests/";

void answer_text(const ExchangePtr& exchange, std::string body) {
  HttpResponse response;
  response.headers = {{"Cache-Control", "no-store"}};
  response.body = std::move(body);
  answer(exchange, std::move(response));
}

// "90s", "5m", "1h"; an hour without one. 0: it is none of these.
int64_t span_seconds(const Query& query) {
  if (!query.has("span")) return kHourSeconds;
  std::string_view text = query.text("span");
  const char unit = text.empty() ? ' ' : text.back();
  const int64_t scale = unit == 's' ? 1 : unit == 'm' ? 60 : unit == 'h' ? kHourSeconds : 0;
  if (scale == 0) return 0;
  text.remove_suffix(1);
  const auto count = whole_number(text, 1, kDaySeconds);
  const int64_t span = count ? static_cast<int64_t>(*count) * scale : 0;
  return span <= kDaySeconds ? span : 0;
}

ApiError no_such_request() {
  ApiError error;
  error.status = 404;
  error.message = "this request is not known, or not any more";
  error.code = "request_not_found";
  return error;
}

ApiError too_many_viewers() {
  ApiError error;
  error.status = 429;
  error.type = "rate_limit_error";
  error.message = "eight viewers watch already; close one of them";
  error.code = "too_many_viewers";
  error.retry_after = 10;
  return error;
}

bool no_query(const ExchangePtr& exchange) {
  if (exchange->request().query.empty()) return true;
  answer_error(exchange, bad_field("", "this route takes no query"));
  return false;
}

}  // namespace

void monitor(Service& service, const ExchangePtr& exchange) {
  if (no_query(exchange)) answer_text(exchange, service.monitor().snapshot());
}

void monitor_stream(Service& service, const ExchangePtr& exchange) {
  const auto query = Query::parse(exchange->request().query, {"hz", "since", "text"});
  std::optional<uint64_t> hz = kDefaultHz;
  std::optional<uint64_t> since;
  std::optional<uint64_t> text = 0;
  if (query && query->has("hz")) hz = whole_number(query->text("hz"), 1, Monitor::kMaxHz);
  if (query && query->has("since")) since = whole_number(query->text("since"), 0, UINT64_MAX);
  if (query && query->has("text")) text = whole_number(query->text("text"), 0, 1);
  if (!query || !hz || !text || (query->has("since") && !since)) {
    answer_error(
        exchange,
        bad_field(!query || !hz ? "hz"
                  : !text       ? "text"
                                : "since",
                  "the query may be hz=N, N from 1 to 10, since=STEP and text=0 or text=1"));
    return;
  }
  if (exchange->request().method == "HEAD") {
    answer_text(exchange, "");
    return;
  }
  if (service.draining()) {
    answer_error(exchange, overloaded("the server is shutting down"));
  } else if (!service.monitor().watch(exchange, {static_cast<int>(*hz), since, *text == 1})) {
    answer_error(exchange, too_many_viewers());
  }
}

void monitor_history(Service& service, const ExchangePtr& exchange) {
  const auto query = Query::parse(exchange->request().query, {"span"});
  const int64_t span = query ? span_seconds(*query) : 0;
  if (span == 0) {
    answer_error(exchange, bad_field("span", "the query may be span=90s, 5m or 1h, up to 24h"));
    return;
  }
  answer_text(exchange, service.monitor().history(span));
}

void monitor_prefixes(Service& service, const ExchangePtr& exchange) {
  if (no_query(exchange)) answer_text(exchange, service.monitor().prefixes());
}

void monitor_request(Service& service, const ExchangePtr& exchange) {
  if (!no_query(exchange)) return;
  const std::string_view path = exchange->request().path;
  const auto id = whole_number(path.substr(kRequests.size()), 1, UINT64_MAX);
  auto found = id ? service.monitor().request(*id) : std::nullopt;
  if (found) {
    answer_text(exchange, std::move(*found));
  } else {
    answer_error(exchange, no_such_request());
  }
}

void monitor_plan(Service& service, const ExchangePtr& exchange) {
  if (no_query(exchange)) answer_text(exchange, service.monitor().plan());
}

void monitor_tiers(Service& service, const ExchangePtr& exchange) {
  if (no_query(exchange)) answer_text(exchange, service.monitor().tiers());
}

void monitor_doctor(Service& service, const ExchangePtr& exchange) {
  if (!no_query(exchange)) return;
  const ServiceConfig& config = service.config();
  const auto now =
      server_findings(service.engine().info(), service.engine().stats(), service.connections(),
                      config.notices, service.monitor().power(), config.kv_disk);
  answer_text(exchange, service.monitor().doctor(config.machine, now));
}

void monitor_log(Service& service, const ExchangePtr& exchange) {
  const auto query = Query::parse(exchange->request().query, {"after"});
  std::optional<uint64_t> after = 0;
  if (query && query->has("after")) after = whole_number(query->text("after"), 0, UINT64_MAX);
  if (!query || !after) {
    answer_error(exchange, bad_field("after", "the query may be after=N, the last line known"));
    return;
  }
  answer_text(exchange, service.monitor().log().json_after(*after));
}

void own_requests(Service& service, const ExchangePtr& exchange) {
  if (no_query(exchange)) answer_text(exchange, service.monitor().own(exchange->key_name()));
}

void own_request(Service& service, const ExchangePtr& exchange) {
  if (!no_query(exchange)) return;
  const std::string_view path = exchange->request().path;
  const auto number = whole_number(path.substr(kOwn.size()), 1, UINT64_MAX);
  auto found = number ? service.monitor().own_request(exchange->key_name(), *number) : std::nullopt;
  if (found) {
    answer_text(exchange, std::move(*found));
  } else {
    answer_error(exchange, no_such_request());
  }
}

// POST /admin/requests/ID/cancel
void act_on_request(Service& service, const ExchangePtr& exchange) {
  constexpr std::string_view kCancel = "/cancel";
  std::string_view path = exchange->request().path;
  path.remove_prefix(kActions.size());
  if (!path.ends_with(kCancel)) {
    answer_error(exchange, protocol_error(404, "the one action on a request is /cancel"));
    return;
  }
  path.remove_suffix(kCancel.size());
  const auto id = whole_number(path, 1, UINT64_MAX);
  if (id && service.cancel(*id)) {
    answer_json(exchange, {{"id", *id}, {"cancelled", true}});
  } else {
    answer_error(exchange, no_such_request());
  }
}

}  // namespace serval
