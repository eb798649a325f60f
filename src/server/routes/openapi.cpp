// GET /openapi.json (OpenAPI 3.1). Made of the router's rows and of the field tables that validate
// requests; the only things said here are each route's name and purpose.
#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>

#include "server/router.h"
#include "server/routes/answer.h"
#include "server/routes/routes.h"

namespace serval {
namespace {

namespace json = boost::json;

constexpr Field kTraceQuery[] = {
    {"steps", FieldKind::kInteger, Handling::kWorks, 1, 4096, "how many of the last steps"},
    {"seconds", FieldKind::kInteger, Handling::kWorks, 1, 3600, "those of the last seconds"},
    {"format", FieldKind::kString, Handling::kWorks, 0, 7,
     "json (Chrome's) or pftrace (Perfetto's)", nullptr, "\"json\""},
};
std::span<const Field> trace_query() { return kTraceQuery; }

constexpr Field kStreamQuery[] = {
    {"hz", FieldKind::kInteger, Handling::kWorks, 1, 10, "frames per second", nullptr, "2"},
    {"since", FieldKind::kInteger, Handling::kWorks, 0, 9007199254740991, "the newest step known"},
    {"text", FieldKind::kInteger, Handling::kWorks, 0, 1,
     "1: also beginnings of texts, where the server shows them (--monitor-text)", nullptr, "0"},
};
std::span<const Field> stream_query() { return kStreamQuery; }

constexpr Field kHistoryQuery[] = {
    {"span", FieldKind::kString, Handling::kWorks, 0, 8, "such as 90s, 5m, 1h; up to 24h", nullptr,
     "\"1h\""},
};
std::span<const Field> history_query() { return kHistoryQuery; }

constexpr Field kLogQuery[] = {
    {"after", FieldKind::kInteger, Handling::kWorks, 0, 9007199254740991, "the last line known"},
};
std::span<const Field> log_query() { return kLogQuery; }

enum class Reply : uint8_t { kJson, kMaybeStream, kStream, kText };

// What is known of a route beyond its row in the router.
struct Operation {
  RouteFunction run = nullptr;
  std::string_view id, summary;
  std::span<const Field> (*body)() = nullptr;
  std::span<const Field> (*query)() = nullptr;
  Reply reply = Reply::kJson;
};

constexpr Operation kOperations[] = {
    {chat_completions, "createChatCompletion", "Answer a conversation.", chat_fields, nullptr,
     Reply::kMaybeStream},
    {completions, "createCompletion", "Continue a text.", completion_fields, nullptr,
     Reply::kMaybeStream},
    {native_completion, "completion", "Continue a text, in llama-server's own dialect.",
     native_completion_fields, nullptr, Reply::kMaybeStream},
    {infill, "infill", "Fill a gap in a text, in llama-server's own dialect.", infill_fields,
     nullptr, Reply::kMaybeStream},
    {embeddings, "createEmbedding", "Vectors of texts.", embedding_fields},
    {tokenize, "tokenize", "Token ids of a text or of a conversation.", tokenize_fields},
    {detokenize, "detokenize", "The text of token ids.", detokenize_fields},
    {apply_template, "applyTemplate", "A conversation as the text the model sees.", chat_fields},
    {list_models, "listModels", "The models served."},
    {show_model, "retrieveModel", "One of them."},
    {list_snapshots, "listSnapshots", "The saved states of prompts."},
    {create_snapshot, "createSnapshot", "Save the state of a prompt or a conversation."},
    {read_snapshot, "readSnapshot", "One saved state, described or exported."},
    {act_on_snapshot, "actOnSnapshot", "Load or unload a saved state."},
    {import_snapshot, "importSnapshot", "Bring in an exported state."},
    {delete_snapshot, "deleteSnapshot", "Delete a saved state."},
    {health, "health", "200 while the server takes work."},
    {livez, "livez", "200 while the process lives."},
    {readyz, "readyz", "200 while the server takes work."},
    {metrics, "metrics", "Prometheus metrics.", nullptr, nullptr, Reply::kText},
    {props, "props", "The model, its defaults and this server's settings."},
    {monitor, "monitor", "What the engine does now; docs/reference/monitor.schema.json."},
    {monitor_stream, "monitorStream", "The same as a stream of events.", nullptr, stream_query,
     Reply::kStream},
    {monitor_history, "monitorHistory", "The last hour or day.", nullptr, history_query},
    {monitor_prefixes, "monitorPrefixes", "The tree of cached prompt beginnings."},
    {monitor_request, "monitorRequest", "Where the time of one request went."},
    {monitor_plan, "monitorPlan", "What runs where, and what it has cost so far."},
    {monitor_tiers, "monitorTiers", "Where KV is kept."},
    {monitor_doctor, "monitorDoctor", "What could be better."},
    {monitor_log, "monitorLog", "The latest lines of the log.", nullptr, log_query},
    {own_requests, "ownRequests", "The requests of the caller's own key."},
    {own_request, "ownRequest", "Where the time of one of them went."},
    {act_on_request, "actOnRequest", "Cancel a request: /admin/requests/{id}/cancel."},
    {trace, "trace", "The last steps in Chrome's trace format.", nullptr, trace_query},
    {openapi, "openapi", "This document."},
    {other_dialect, "otherDialect", "A dialect this server does not speak: 501."},
};

constexpr std::string_view kErrorSchema =
    R"({"type": "object", "required": ["error"], "properties": {"error": {"type": "object",
        "required": ["message", "type", "param", "code"], "properties": {
          "message": {"type": "string"}, "type": {"type": "string"},
          "param": {"type": ["string", "null"]}, "code": {"type": ["string", "null"]}}}}})";

const Operation* operation_of(RouteFunction run) {
  const auto* found = std::find_if(std::begin(kOperations), std::end(kOperations),
                                   [&](const Operation& o) { return o.run == run; });
  return found == std::end(kOperations) ? nullptr : found;
}

json::object reply_content(Reply reply) {
  const json::object any{{"schema", json::object{{"type", "object"}}}};
  const json::object text{{"schema", json::object{{"type", "string"}}}};
  if (reply == Reply::kText) return {{"text/plain", text}};
  if (reply == Reply::kStream) return {{"text/event-stream", text}};
  json::object content{{"application/json", any}};
  if (reply == Reply::kMaybeStream) content["text/event-stream"] = text;
  return content;
}

// "/v1/models/*" -> "/v1/models/{name}"
std::string template_of(std::string_view path) {
  std::string out(path);
  if (out.ends_with("/*")) out.replace(out.size() - 1, 1, "{name}");
  return out;
}

std::string lower(std::string_view method) {
  std::string out(method);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](char c) { return static_cast<char>(c | 0x20); });
  return out;
}

json::array parameters_of(const Route& route, const Operation& operation,
                          const SamplingParams& defaults) {
  json::array out;
  if (route.path.ends_with("/*")) {
    out.push_back(json::object{{"name", "name"},
                               {"in", "path"},
                               {"required", true},
                               {"schema", json::object{{"type", "string"}}}});
  }
  if (operation.query == nullptr) return out;
  for (const Field& field : operation.query()) {
    out.push_back(json::object{
        {"name", field.name}, {"in", "query"}, {"schema", field_schema(field, defaults)}});
  }
  return out;
}

json::object operation_json(const Route& route, const Operation& operation, int alias,
                            const SamplingParams& defaults) {
  const json::object fault{
      {"description", "An error; see the statuses in the manual."},
      {"content",
       json::object{
           {"application/json",
            json::object{{"schema", json::object{{"$ref", "#/components/schemas/Error"}}}}}}}};
  std::string id(operation.id);
  if (alias > 0) id += std::to_string(alias + 1);
  json::object out{
      {"operationId", id},
      {"summary", operation.summary},
      {"responses", json::object{{"200", json::object{{"description", "Done."},
                                                      {"content", reply_content(operation.reply)}}},
                                 {"default", fault}}}};
  if (auto parameters = parameters_of(route, operation, defaults); !parameters.empty()) {
    out["parameters"] = std::move(parameters);
  }
  if (operation.body != nullptr) {
    const json::object schema{{"$ref", "#/components/schemas/" + std::string(operation.id)}};
    out["requestBody"] = json::object{
        {"required", true},
        {"content", json::object{{"application/json", json::object{{"schema", schema}}}}}};
  }
  if (route.access == Access::kOpen) out["security"] = json::array{};
  return out;
}

json::object paths_json(const SamplingParams& defaults) {
  json::object paths;
  std::vector<RouteFunction> seen;
  for (const Route& route : routes()) {
    const Operation* operation = operation_of(route.run);
    if (operation == nullptr) continue;
    const auto aliases = std::count(seen.begin(), seen.end(), route.run);
    seen.push_back(route.run);
    json::value& path = paths[template_of(route.path)];
    if (!path.is_object()) path.emplace_object();
    path.get_object()[lower(route.method)] =
        operation_json(route, *operation, static_cast<int>(aliases), defaults);
  }
  return paths;
}

}  // namespace

void openapi(Service& service, const ExchangePtr& exchange) {
  const SamplingParams& defaults = service.engine().info().sampling;
  json::object schemas{{"Error", json::parse(kErrorSchema)}};
  for (const Operation& operation : kOperations) {
    if (operation.body == nullptr) continue;
    schemas[operation.id] = fields_schema(operation.body(), defaults);
  }
  const json::object key{{"type", "http"}, {"scheme", "bearer"}};
  answer_json(exchange,
              {{"openapi", "3.1.0"},
               {"info", json::object{{"title", "Serval"}, {"version", SERVAL_VERSION}}},
               {"paths", paths_json(defaults)},
               {"components", json::object{{"schemas", std::move(schemas)},
                                           {"securitySchemes", json::object{{"key", key}}}}},
               {"security", json::array{json::object{{"key", json::array{}}}, json::object{}}}});
}

}  // namespace serval
