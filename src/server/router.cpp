#include "server/router.h"

#include "server/routes/routes.h"

namespace serval {
namespace {

constexpr Route kRoutes[] = {
    {"POST", "/v1/chat/completions", Access::kUse, Lane::kWorker, chat_completions},
    {"POST", "/chat/completions", Access::kUse, Lane::kWorker, chat_completions},
    {"POST", "/v1/completions", Access::kUse, Lane::kWorker, completions},
    {"POST", "/completion", Access::kUse, Lane::kWorker, native_completion},
    {"POST", "/completions", Access::kUse, Lane::kWorker, native_completion},
    {"POST", "/infill", Access::kUse, Lane::kWorker, infill},
    {"POST", "/v1/embeddings", Access::kUse, Lane::kWorker, embeddings},
    {"POST", "/embeddings", Access::kUse, Lane::kWorker, embeddings},
    {"POST", "/v1/responses", Access::kUse, Lane::kInline, other_dialect},
    {"POST", "/v1/messages", Access::kUse, Lane::kInline, other_dialect},
    {"POST", "/v1/tokenize", Access::kUse, Lane::kWorker, tokenize},
    {"POST", "/tokenize", Access::kUse, Lane::kWorker, tokenize},
    {"POST", "/v1/detokenize", Access::kUse, Lane::kWorker, detokenize},
    {"POST", "/detokenize", Access::kUse, Lane::kWorker, detokenize},
    {"POST", "/v1/apply-template", Access::kUse, Lane::kWorker, apply_template},
    {"POST", "/apply-template", Access::kUse, Lane::kWorker, apply_template},
    {"GET", "/v1/models", Access::kUse, Lane::kInline, list_models},
    {"GET", "/models", Access::kUse, Lane::kInline, list_models},
    {"GET", "/v1/models/*", Access::kUse, Lane::kInline, show_model},
    {"GET", "/models/*", Access::kUse, Lane::kInline, show_model},
    {"GET", "/v1/requests", Access::kOwn, Lane::kWorker, own_requests},
    {"GET", "/v1/requests/*", Access::kOwn, Lane::kWorker, own_request},
    {"GET", "/v1/kv/snapshots", Access::kUse, Lane::kWorker, list_snapshots},
    {"POST", "/v1/kv/snapshots", Access::kUse, Lane::kWorker, create_snapshot},
    {"GET", "/v1/kv/snapshots/*", Access::kUse, Lane::kWorker, read_snapshot},
    {"POST", "/v1/kv/snapshots/*", Access::kUse, Lane::kWorker, act_on_snapshot},
    {"PUT", "/v1/kv/snapshots/*", Access::kAdmin, Lane::kWorker, import_snapshot},
    {"DELETE", "/v1/kv/snapshots/*", Access::kUse, Lane::kWorker, delete_snapshot},
    {"GET", "/", Access::kOpen, Lane::kInline, web},
    {"GET", "/monitor", Access::kOpen, Lane::kInline, web},
    {"GET", "/assets/*", Access::kOpen, Lane::kInline, web},
    {"GET", "/health", Access::kOpen, Lane::kInline, health},
    {"GET", "/v1/health", Access::kOpen, Lane::kInline, health},
    {"GET", "/livez", Access::kOpen, Lane::kInline, livez},
    {"GET", "/readyz", Access::kOpen, Lane::kInline, readyz},
    {"GET", "/metrics", Access::kMetrics, Lane::kInline, metrics},
    {"GET", "/props", Access::kAdmin, Lane::kInline, props},
    {"GET", "/admin/monitor", Access::kAdmin, Lane::kWorker, monitor},
    {"GET", "/admin/monitor/stream", Access::kAdmin, Lane::kWorker, monitor_stream},
    {"GET", "/admin/monitor/history", Access::kAdmin, Lane::kWorker, monitor_history},
    {"GET", "/admin/monitor/prefixes", Access::kAdmin, Lane::kWorker, monitor_prefixes},
    {"GET", "/admin/monitor/request/*", Access::kAdmin, Lane::kWorker, monitor_request},
    {"GET", "/admin/monitor/plan", Access::kAdmin, Lane::kWorker, monitor_plan},
    {"GET", "/admin/monitor/tiers", Access::kAdmin, Lane::kWorker, monitor_tiers},
    {"GET", "/admin/monitor/doctor", Access::kAdmin, Lane::kWorker, monitor_doctor},
    {"GET", "/admin/monitor/log", Access::kAdmin, Lane::kWorker, monitor_log},
    {"POST", "/admin/requests/*", Access::kAdmin, Lane::kWorker, act_on_request},
    {"GET", "/admin/trace", Access::kAdmin, Lane::kWorker, trace},
    {"GET", "/openapi.json", Access::kUse, Lane::kWorker, openapi},
};

bool matches(std::string_view pattern, std::string_view path) {
  if (!pattern.ends_with("/*")) return pattern == path;
  pattern.remove_suffix(1);
  return path.size() > pattern.size() && path.starts_with(pattern);
}

}  // namespace

std::span<const Route> routes() { return kRoutes; }

RouteMatch find_route(std::string_view method, std::string_view path) {
  const std::string_view wanted = method == "HEAD" ? "GET" : method;
  RouteMatch match;
  for (const Route& route : kRoutes) {
    if (!matches(route.path, path)) continue;
    if (route.method == wanted) {
      match.route = &route;
      return match;
    }
    if (!match.allowed.empty()) match.allowed += ", ";
    match.allowed += route.method;
    if (route.method == "GET") match.allowed += ", HEAD";
  }
  return match;
}

}  // namespace serval
