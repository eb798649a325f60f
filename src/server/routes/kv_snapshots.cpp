// Named KV snapshots:
//
//   GET    /v1/kv/snapshots              all of the caller's
//   POST   /v1/kv/snapshots              {"name", "messages" | "prompt", "replace", "load"}
//   GET    /v1/kv/snapshots/NAME         one
//   GET    /v1/kv/snapshots/NAME/export  its bytes
//   PUT    /v1/kv/snapshots/NAME         bytes of an export; ?replace=true
//   POST   /v1/kv/snapshots/NAME/load    pins it in the KV pool; .../unload lets go
//   DELETE /v1/kv/snapshots/NAME
//
// A caller sees only what was made with the same key. Everything that reads or writes KV runs on
// the shelf's thread.
#include <fmt/format.h>

#include <array>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <optional>

#include "base/quoted.h"
#include "server/openai/decode.h"
#include "server/routes/answer.h"
#include "server/routes/routes.h"

namespace serval {
namespace {

namespace json = boost::json;

constexpr std::string_view kFolder = "/v1/kv/snapshots/";
using K = FieldKind;
using H = Handling;
constexpr std::array<Field, 6> kCreateFields = {{
    {"model", K::kString, H::kWorks, 0, 256, "must name the served model when given"},
    {"name", K::kString, H::kWorks, 0, 64, "1 to 64 of a-z, 0-9, '.', '_', '-'"},
    {"messages", K::kList, H::kWorks, 0, 100'000, "a conversation, up to where it shall go on"},
    {"prompt", K::kAny, H::kWorks, 0, 0, "a text or token ids instead of messages"},
    {"replace", K::kBool, H::kWorks, 0, 0, "an existing snapshot of that name gives way"},
    {"load", K::kBool, H::kWorks, 0, 0, "also pin it in the KV pool"},
}};

json::object entry_json(const SnapshotEntry& entry) {
  json::object out{{"object", "kv.snapshot"},        {"name", entry.name},
                   {"tokens", entry.tokens},         {"bytes", entry.bytes},
                   {"created", entry.created},       {"loaded", entry.loaded},
                   {"usable", entry.problem.empty()}};
  if (!entry.problem.empty()) out["problem"] = entry.problem;
  return out;
}

// A file that is damaged or of another model is the fault of whoever chose it, not of the server.
ApiError snapshot_error(const Error& error) {
  if (error.code() != ErrorCode::kCorrupt && error.code() != ErrorCode::kUnsupported) {
    return from_engine(error);
  }
  ApiError out = bad_field("", error.message());
  out.code = "snapshot_refused";
  return out;
}

// NAME or NAME/ACTION of the path.
struct Target {
  std::string name, action;
};
std::optional<Target> target_of(const ExchangePtr& exchange) {
  std::string_view rest = exchange->request().path;
  rest.remove_prefix(kFolder.size());
  const size_t slash = rest.find('/');
  Target target{std::string(rest.substr(0, slash)),
                std::string(slash == std::string_view::npos ? "" : rest.substr(slash + 1))};
  if (valid_snapshot_name(target.name)) return target;
  answer_error(exchange, bad_field("name",
                                   "a snapshot's name is 1 to 64 of a-z, 0-9, '.', '_' "
                                   "and '-', and does not begin with '.'"));
  return std::nullopt;
}

void no_such_action(const ExchangePtr& exchange, const Target& target) {
  answer_error(exchange, protocol_error(404, fmt::format("there is no {} of a snapshot",
                                                         quoted(target.action))));
}

bool available(Service& service, const ExchangePtr& exchange) {
  if (service.snapshots().enabled()) return true;
  answer_error(exchange, protocol_error(404, "this server keeps no snapshots; see --snapshot-dir"));
  return false;
}

// Runs `work` on the shelf's thread and answers what it returns.
template <typename Work>
void on_shelf(Service& service, const ExchangePtr& exchange, Work work) {
  const bool queued = service.snapshots().post([&service, exchange, work = std::move(work)] {
    try {
      HttpResponse response = work(service.snapshots(), exchange->key_name());
      answer(exchange, std::move(response));
    } catch (const Error& error) {
      answer_error(exchange, snapshot_error(error));
    } catch (const std::exception&) {  // no memory for it
      answer_error(exchange, from_engine(Error(ErrorCode::kOutOfMemory, "")));
    }
  });
  if (!queued) answer_error(exchange, overloaded("too many snapshots are being worked on"));
}

HttpResponse json_response(const json::object& body) {
  HttpResponse response;
  response.body = json::serialize(body);
  return response;
}

std::optional<ApiError> decode_prompt(const json::object& body, Prompt& prompt) {
  if (!find_field(body, "messages")) {
    std::vector<Prompt> prompts;
    if (auto error = decode_prompts(body, {.most = 1}, prompts)) return error;
    prompt = std::move(prompts.front());
    return std::nullopt;
  }
  if (find_field(body, "prompt")) return bad_field("prompt", "give messages or prompt, not both");
  ChatPrompt chat;
  chat.add_generation_prompt = false;  // more may be said by either side
  if (auto error = decode_messages(body, chat)) return error;
  prompt = std::move(chat);
  return std::nullopt;
}

}  // namespace

void list_snapshots(Service& service, const ExchangePtr& exchange) {
  if (!available(service, exchange)) return;
  json::array data;
  for (const SnapshotEntry& entry : service.snapshots().list(exchange->key_name())) {
    data.push_back(entry_json(entry));
  }
  answer_json(exchange, {{"object", "list"}, {"data", std::move(data)}});
}

void create_snapshot(Service& service, const ExchangePtr& exchange) {
  if (!available(service, exchange)) return;
  const auto body = read_request(service, exchange, kCreateFields);
  if (!body) return;
  const std::string name = string_field(*body, "name");
  if (!valid_snapshot_name(name)) {
    answer_error(exchange, bad_field("name",
                                     "name must be 1 to 64 of a-z, 0-9, '.', '_' and '-', "
                                     "not beginning with '.'"));
    return;
  }
  Prompt prompt;
  if (const auto error = decode_prompt(*body, prompt)) {
    answer_error(exchange, *error);
    return;
  }
  on_shelf(service, exchange,
           [name, prompt = std::move(prompt), replace = bool_field(*body, "replace", false),
            load = bool_field(*body, "load", false)](SnapshotShelf& shelf, const std::string& key) {
             SnapshotEntry entry = shelf.create(key, name, prompt, replace);
             if (load) entry = shelf.load(key, name);
             return json_response(entry_json(entry));
           });
}

void read_snapshot(Service& service, const ExchangePtr& exchange) {
  if (!available(service, exchange)) return;
  const auto target = target_of(exchange);
  if (!target) return;
  if (target->action.empty()) {
    try {
      answer_json(exchange,
                  entry_json(service.snapshots().show(exchange->key_name(), target->name)));
    } catch (const Error& error) {
      answer_error(exchange, snapshot_error(error));
    }
  } else if (target->action == "export") {
    on_shelf(service, exchange,
             [name = target->name](SnapshotShelf& shelf, const std::string& key) {
               HttpResponse response;
               response.content_type = "application/octet-stream";
               response.body = shelf.read(key, name);
               return response;
             });
  } else {
    no_such_action(exchange, *target);
  }
}

void act_on_snapshot(Service& service, const ExchangePtr& exchange) {
  if (!available(service, exchange)) return;
  const auto target = target_of(exchange);
  if (!target) return;
  if (target->action != "load" && target->action != "unload") {
    no_such_action(exchange, *target);
    return;
  }
  on_shelf(service, exchange, [target = *target](SnapshotShelf& shelf, const std::string& key) {
    return json_response(entry_json(target.action == "load" ? shelf.load(key, target.name)
                                                            : shelf.unload(key, target.name)));
  });
}

void import_snapshot(Service& service, const ExchangePtr& exchange) {
  if (!available(service, exchange)) return;
  const auto target = target_of(exchange);
  if (!target) return;
  if (!target->action.empty()) {
    no_such_action(exchange, *target);
    return;
  }
  const bool replace = exchange->request().query == "replace=true";
  // The body lives as long as the exchange's route runs: it is copied for the shelf's thread.
  on_shelf(service, exchange,
           [name = target->name, replace, bytes = exchange->request().body](
               SnapshotShelf& shelf, const std::string& key) {
             return json_response(entry_json(shelf.import(key, name, bytes, replace)));
           });
}

void delete_snapshot(Service& service, const ExchangePtr& exchange) {
  if (!available(service, exchange)) return;
  const auto target = target_of(exchange);
  if (!target) return;
  if (!target->action.empty()) {
    no_such_action(exchange, *target);
    return;
  }
  on_shelf(service, exchange, [name = target->name](SnapshotShelf& shelf, const std::string& key) {
    shelf.remove(key, name);
    return json_response({{"object", "kv.snapshot.deleted"}, {"name", name}, {"deleted", true}});
  });
}

}  // namespace serval
