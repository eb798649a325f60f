// serval serve: one model behind an OpenAI-compatible HTTP interface.
#include <fmt/format.h>
#include <spdlog/async.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <sys/resource.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <utility>

#include "apps/command.h"
#include "apps/environment.h"
#include "apps/generation.h"
#include "apps/machine_findings.h"
#include "apps/machine_limits.h"
#include "apps/model_argument.h"
#include "apps/options.h"
#include "apps/speed_limits.h"
#include "apps/terminal.h"
#include "base/file.h"
#include "server/monitor/power.h"
#include "server/sandbox.h"
#include "server/server.h"
#include "server/web_assets.h"
#include "store/catalogue.h"

namespace serval {
namespace {

constexpr uint64_t kMaxKeyFile = 1024 * 1024;
constexpr const char* kTextRisk =
    "whoever may open the monitor reads how the prompts and answers of all users begin; start "
    "without --monitor-text unless they know and agree";
constexpr size_t kLogLines = 8192;  // waiting to be written; then the oldest are lost, not time

// The checkers of these builds trace their own process, which the sandbox forbids.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSandboxByDefault = false;
#elif defined(__has_feature)
constexpr bool kSandboxByDefault = !__has_feature(address_sanitizer) &&
                                   !__has_feature(thread_sanitizer) &&
                                   !__has_feature(memory_sanitizer);
#else
constexpr bool kSandboxByDefault = true;
#endif

struct ServeOptions {
  ModelOptions model;
  EngineOptions engine;
  std::vector<std::string> positionals;
  std::string host = "127.0.0.1", unix_path, certificate_file, key_file;
  int port = 8080;
  std::vector<std::string> aliases, hosts, origins;
  std::string keys_file, admin_keys_file, api_key;
  bool no_auth = false, no_log = false, no_sandbox = !kSandboxByDefault, share_prefix_cache = false,
       no_limits = false, monitor_text = false;
  ShelfConfig snapshots;
  int key_requests = ServiceConfig().key_requests;
  int max_queue = 128, io_threads = 1, max_itl_ms = EngineConfig().max_itl_ms;
  HttpLimits limits;
  std::optional<int> address_connections;
  double handshake_time = 10, head_time = 10, body_time = 30, idle_time = 60, stall_time = 30,
         ping_time = 15;
  double drain_time = 30, queue_time = 0, request_time = 0, read_bandwidth = 0;
};

std::chrono::milliseconds milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000));
}

KeyRing read_keys(const ServeOptions& options) {
  KeyRing keys;
  if (!options.keys_file.empty()) {
    keys.add_lines(read_text_file(options.keys_file, kMaxKeyFile), options.keys_file);
    if (keys.empty()) throw UsageError(options.keys_file + ": holds no key");
  }
  if (const std::string key = environment_api_key(); !key.empty()) {
    keys.add(key, "environment", KeyClass::kAdmin);
  }
  if (!options.api_key.empty()) {
    notice(
        "--api-key shows the key to everyone who lists processes; use --keys FILE or the "
        "variable SERVAL_API_KEY");
    keys.add(options.api_key, "command-line", KeyClass::kAdmin);
  }
  return keys;
}

KeyRing read_admin_keys(const ServeOptions& options) {
  KeyRing keys;
  const std::string& file = options.admin_keys_file;
  if (file.empty()) return keys;
  keys.add_lines(read_text_file(file, kMaxKeyFile), file, KeyClass::kAdmin);
  if (keys.empty()) throw UsageError(file + ": holds no key");
  return keys;
}

// What clients may call the model: the name it was started by, its file's, its catalogue's.
ServiceConfig service_config(const ServeOptions& options, const std::string& asked,
                             const std::string& path) {
  ServiceConfig config;
  std::vector<std::string> names = options.aliases;
  const bool is_path = asked.find('/') != std::string::npos || asked.ends_with(".gguf");
  const CatalogueEntry* entry = find_in_catalogue(asked.empty() ? kDefaultModel : asked);
  if (entry != nullptr) names.emplace_back(entry->name);
  if (!asked.empty() && !is_path) names.push_back(asked);
  names.push_back(std::filesystem::path(path).stem().string());
  config.snapshots = options.snapshots;
  config.snapshots.max_import = options.limits.upload_bytes;
  if (config.snapshots.folder.empty()) config.snapshots.folder = snapshot_folder();
  config.model = names.front();
  config.aliases.assign(names.begin() + 1, names.end());
  if (options.engine.gpu_layers.value_or(0) != 0) {
    config.notices.emplace_back("-ngl has no effect: this build has no GPU backend");
  }
  return config;
}

// One connection is one descriptor; the soft limit is often 1,024.
void raise_descriptor_limit(int connections) {
  struct rlimit limit = {};
  const rlim_t wanted = static_cast<rlim_t>(connections) + 256;
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) return;
  limit.rlim_cur = std::min(wanted, limit.rlim_max);
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

std::function<void(std::string_view)> access_log() {
  spdlog::init_thread_pool(kLogLines, 1);
  auto logger = std::make_shared<spdlog::async_logger>(
      "access", std::make_shared<spdlog::sinks::stderr_sink_mt>(), spdlog::thread_pool(),
      spdlog::async_overflow_policy::overrun_oldest);
  logger->set_pattern("%v");
  return [logger](std::string_view line) { logger->info(line); };
}

ServerConfig server_config(const ServeOptions& options, ServiceConfig service) {
  ServerConfig config;
  config.host = options.host;
  config.port = options.port;
  config.unix_path = options.unix_path;
  config.certificate_file = options.certificate_file;
  config.key_file = options.key_file;
  config.io_threads = options.io_threads;
  config.keys = read_keys(options);
  config.admin_keys = read_admin_keys(options);
  config.allow_no_keys = options.no_auth;
  config.hosts = options.hosts;
  config.origins = options.origins;
  config.limits = options.limits;
  config.limits.address_connections = options.address_connections;
  config.limits.handshake_time = milliseconds(options.handshake_time);
  config.limits.head_time = milliseconds(options.head_time);
  config.limits.body_time = milliseconds(options.body_time);
  config.limits.idle_time = milliseconds(options.idle_time);
  config.limits.stall_time = milliseconds(options.stall_time);
  config.limits.ping_time = milliseconds(options.ping_time);
  config.drain_time = milliseconds(options.drain_time);
  config.service = std::move(service);
  config.service.key_requests = options.key_requests;
  config.service.queue_timeout_ms = milliseconds(options.queue_time).count();
  config.service.timeout_ms = milliseconds(options.request_time).count();
  config.service.read_bandwidth = options.read_bandwidth * 1e9;
  config.service.max_itl_ms = options.max_itl_ms;
  config.service.monitor_text = options.monitor_text;
  config.service.kv_disk = !options.engine.kv_cache_dir.empty();
  config.service.kv_disk_bytes = options.engine.kv_cache_bytes;
  if (!options.no_log) config.access_log = access_log();
  return config;
}

// What /metrics and the monitor compare the steps with.
void state_limits(const ServeOptions& options, const MeasuredLimits& measured, DotKind kind,
                  ServiceConfig& service) {
  service.limits_unix_ms = options.read_bandwidth > 0 ? 0 : measured.unix_ms;
  if (options.read_bandwidth <= 0) service.read_bandwidth = measured.gbytes_per_second * 1e9;
  service.dot_peak = measured.gmacs_per_second(kind) * 1e9;
}

// -c is the KV pool that all share; one request may take what the model was trained for.
EngineConfig serve_engine_config(const ServeOptions& options, const std::string& path) {
  EngineConfig config = engine_config(options.engine, path);
  config.kv_tokens = options.engine.context;
  config.context = 0;
  config.max_queue = options.max_queue;
  config.max_itl_ms = options.max_itl_ms;
  config.share_prefix_cache = options.share_prefix_cache;
  return config;
}

std::string folder_of(const std::string& path) {
  return std::filesystem::absolute(path).parent_path().string();
}

// Everything the process will open from now on. Called while it has one thread. False: this kernel
// has no Landlock.
bool wall_off_files(const ServeOptions& options, const std::string& model,
                    const std::vector<std::string>& folders) {
  SandboxFiles files;
  files.read = {model,
                options.keys_file,
                options.admin_keys_file,
                options.certificate_file,
                options.key_file,
                kRaplCounter};
  // The parts of a split model stand beside the first.
  if (model.find("-00001-of-") != std::string::npos) files.read.push_back(folder_of(model));
  if (!options.unix_path.empty()) files.socket_folder = folder_of(options.unix_path);
  for (const std::string& folder : folders) {
    if (folder.empty()) continue;
    // Whoever needs a folder that cannot be made says so.
    std::error_code ignored;
    if (std::filesystem::create_directories(folder, ignored)) {
      std::filesystem::permissions(folder, std::filesystem::perms::owner_all, ignored);
    }
    files.write.push_back(folder);
  }
  return restrict_files(files) != 0;
}

// The second half, once everything is open and every thread runs. What is missing is said only
// here: a start that fails says why, and no more.
void lock_in(const ServeOptions& options, bool files_walled_off) {
  if (options.no_sandbox) {
    notice("no sandbox: this process keeps all rights of its user");
    return;
  }
  if (!files_walled_off) notice("this kernel has no Landlock: files are not walled off");
  if (!restrict_system_calls()) {
    notice("this kernel has no seccomp: system calls are not filtered");
  }
}

void announce(const ServeOptions& options, const Engine& engine, const Server& server,
              const std::string& model) {
  const ModelInfo& info = engine.info();
  notice(fmt::format("{} ready in {:.1f} s: context {}, KV pool {} tokens, {} threads, {}", model,
                     info.load_ms / 1000, info.context, engine.stats().kv_tokens_total,
                     info.threads, info.kernels));
  if (options.monitor_text) notice(std::string("--monitor-text: ") + kTextRisk);
  if (!options.unix_path.empty()) notice("listening on " + options.unix_path);
  if (options.host.empty()) return;
  const bool v6 = options.host.find(':') != std::string::npos;
  const std::string address =
      fmt::format("{}://{}:{}", options.key_file.empty() ? "http" : "https",
                  v6 ? "[" + options.host + "]" : options.host, server.port());
  notice("listening on " + address);
  if (!web_assets().empty()) {
    notice("chat: " + address + "/  what the engine does: " + address + "/monitor");
  }
  if (!stderr_is_terminal()) return;
  notice(
      fmt::format("try: curl {}/v1/chat/completions -H 'Content-Type: application/json' -d "
                  R"('{{"messages": [{{"role": "user", "content": "Why is the sky blue?"}}]}}')",
                  address));
}

// What the model is held against, and what was chosen.
std::vector<Finding> findings_at_start(const ServeOptions& options, const MeasuredLimits& limits,
                                       DotKind kind) {
  std::vector<Finding> out;
  const double bandwidth =
      options.read_bandwidth > 0 ? options.read_bandwidth : limits.gbytes_per_second;
  const auto measured = [](double value, const char* unit) {
    return value > 0 ? fmt::format("{:.1f} {}", value, unit) : std::string("not measured");
  };
  constexpr const char* kMeasure = "the gauges have no limit: start without --no-machine-limits";
  out.push_back({"read bandwidth", measured(bandwidth, "GB/s"), bandwidth > 0 ? "" : kMeasure});
  const double gmacs = limits.gmacs_per_second(kind);
  out.push_back({"dot products", measured(gmacs, fmt::format("GMAC/s, {}", name_of(kind)).c_str()),
                 gmacs > 0 ? "" : kMeasure});
  out.push_back({"sandbox", options.no_sandbox ? "off" : "on",
                 options.no_sandbox ? "this process keeps all rights of its user" : ""});
  if (options.monitor_text) out.push_back({"monitor text", "shown", kTextRisk});
  return out;
}

int serve(const ServeOptions& options) {
  if (options.host.empty() && options.unix_path.empty()) {
    throw UsageError("nothing to listen on: give --host or --unix");
  }
  if (options.certificate_file.empty() != options.key_file.empty()) {
    throw UsageError("TLS needs both --ssl-cert-file and --ssl-key-file");
  }
  const ModelAndText chosen = split_positionals(options.model.model, options.positionals);
  const std::string path = resolve_model(chosen.model, options.model);
  ServiceConfig service = service_config(options, chosen.model, path);
  const std::string model = service.model;
  try {
    const EngineConfig engine_config = serve_engine_config(options, path);
    const MeasuredLimits limits =
        options.no_limits ? MeasuredLimits() : machine_limits(options.engine.threads);
    service.machine = machine_findings();  // before the sandbox hides some of it
    const bool walled_off =
        !options.no_sandbox &&
        wall_off_files(options, path, {engine_config.kv_cache_dir, service.snapshots.folder});
    ServerConfig config = server_config(options, std::move(service));
    check_exposure(config);
    raise_descriptor_limit(options.limits.connections);
    config.service.slots = engine_config.max_sequences;
    auto engine = load_engine(engine_config);
    const Engine& loaded = *engine;
    const DotKind kind = dot_kind(loaded.info().plan);
    state_limits(options, limits, kind, config.service);
    for (Finding& finding : findings_at_start(options, limits, kind)) {
      config.service.machine.push_back(std::move(finding));
    }
    Server server(std::move(config), std::move(engine));
    lock_in(options, walled_off);
    announce(options, loaded, server, model);
    server.run();
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kInvalidArgument) throw_usage(error);
    throw;
  }
  notice("all requests have ended");
  return kExitDone;
}

void add_limit_options(CLI::App& app, ServeOptions& o) {
  HttpLimits& limits = o.limits;
  const auto size = [&](const char* name, size_t& value, const char* help) {
    app.add_option(name, value, help)
        ->check(CLI::Range(size_t{1}, size_t{1} << 30))
        ->capture_default_str()
        ->group("Limits");
  };
  const auto count = [&](const char* name, int& value, const char* help) {
    app.add_option(name, value, help)
        ->check(CLI::Range(1, 1 << 20))
        ->capture_default_str()
        ->group("Limits");
  };
  const auto seconds = [&](const char* name, double& value, const char* help) {
    app.add_option(name, value, help)
        ->check(CLI::Range(0.01, 86400.0))
        ->capture_default_str()
        ->group("Limits");
  };
  count("--max-queue", o.max_queue, "requests waiting; more are refused with 503");
  count("--max-connections", limits.connections, "open connections; more are refused with 503");
  app.add_option("--max-address-connections", o.address_connections,
                 "open connections of one address (default: 64, and any number of this machine)")
      ->check(CLI::Range(1, 1 << 20))
      ->group("Limits");
  count("--max-connection-requests", limits.requests_per_connection, "requests on one connection");
  size("--max-head", limits.head_bytes, "bytes of a request's head");
  size("--max-fields", limits.fields, "header fields of a request");
  size("--max-target", limits.target_bytes, "bytes of a request's target");
  size("--max-body", limits.body_bytes, "bytes of a request's body");
  size("--max-upload", limits.upload_bytes, "bytes of a snapshot that is imported");
  size("--max-body-memory", limits.body_memory, "bytes of all requests' bodies; then 503");
  size("--pause-output", limits.pause_bytes, "unsent bytes of a stream; then its request pauses");
  size("--max-output", limits.output_bytes, "unsent bytes of a paused stream; then it is dropped");
  seconds("--handshake-time", o.handshake_time, "seconds for a TLS handshake");
  seconds("--head-time", o.head_time, "seconds for a request's head");
  seconds("--body-time", o.body_time, "seconds for a request's body");
  seconds("--idle-time", o.idle_time, "seconds between the requests of a connection");
  seconds("--stall-time", o.stall_time, "seconds a client may take no byte of its answer");
  seconds("--ping-time", o.ping_time, "seconds of silence on a stream before a comment is sent");
  const auto optional_seconds = [&](const char* name, double& value, const char* help) {
    app.add_option(name, value, help)
        ->check(CLI::Range(0.0, 86400.0))
        ->capture_default_str()
        ->group("Limits");
  };
  app.add_option("--key-requests", o.key_requests,
                 "requests of one key in flight; more are refused with 429; 0: any")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str()
      ->group("Limits");
  optional_seconds("--queue-time", o.queue_time, "seconds a request may wait, then 503; 0: any");
  optional_seconds("--request-time", o.request_time,
                   "seconds a request may take; it ends with what is there; 0: any");
  seconds("--drain-time", o.drain_time, "seconds that requests may go on after SIGTERM");
}

}  // namespace

Action define_serve(CLI::App& app) {
  const auto o = std::make_shared<ServeOptions>();
  app.add_option("arguments", o->positionals, "[MODEL]")->type_name("");
  add_model_options(app, o->model);
  app.add_option("--host", o->host, "address to listen on; empty: none")->capture_default_str();
  app.add_option("--port", o->port, "port to listen on; 0: any")
      ->check(CLI::Range(0, 65535))
      ->capture_default_str();
  app.add_option("--unix", o->unix_path, "also listen on this Unix socket (mode 0600)");
  app.add_option("--ssl-cert-file", o->certificate_file, "PEM certificate chain: serve HTTPS");
  app.add_option("--ssl-key-file", o->key_file, "PEM key of the certificate");
  app.add_option("--alias,-a", o->aliases, "name clients use for the model; may be repeated")
      ->allow_extra_args(false);
  app.add_option("--keys,--api-key-file", o->keys_file,
                 "file of keys, one a line: KEY [NAME [use|metrics|admin]]");
  app.add_option("--admin-key-file", o->admin_keys_file,
                 "file of keys for the monitor and the other routes of admins: KEY [NAME]; without "
                 "any key, only callers of this machine may use these");
  app.add_option("--api-key", o->api_key, "a key; better give it in SERVAL_API_KEY")
      ->configurable(false);
  app.add_flag("--insecure-no-auth", o->no_auth, "let everyone who can connect use the server");
  app.add_flag("--no-sandbox", o->no_sandbox, "keep the right to open any file and make any call");
  app.add_option("--allow-host", o->hosts, "a further name this server goes by; may be repeated")
      ->allow_extra_args(false);
  app.add_option("--cors-origin", o->origins, "a web origin that may call; may be repeated")
      ->allow_extra_args(false);
  app.add_option("--io-threads", o->io_threads, "threads for the network")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_option("--max-itl-ms", o->max_itl_ms,
                 "most milliseconds between two tokens of a stream while prompts are computed")
      ->check(CLI::Range(1, 60000))
      ->capture_default_str();
  app.add_flag("--share-prefix-cache", o->share_prefix_cache,
               "let keys use each other's cached prompts; the time to a first token then tells "
               "whether somebody asked the same");
  app.add_flag("--monitor-text", o->monitor_text,
               "show admins the first 80 characters of each prompt and answer in the monitor; "
               "without it, nobody's text is shown");
  app.add_flag("--no-access-log", o->no_log, "no line per request on standard error");
  app.add_option("--snapshot-dir", o->snapshots.folder,
                 "folder of named KV snapshots (default: snapshots beside the models)");
  app.add_option("--snapshot-size", o->snapshots.max_bytes, "bytes it may hold: 512M, 16G")
      ->transform(CLI::AsSizeValue(false))
      ->capture_default_str();
  app.add_option("--preload", o->snapshots.preload,
                 "load this snapshot before serving: NAME, or KEY/NAME; may be repeated")
      ->allow_extra_args(false);
  app.add_option("--read-bandwidth", o->read_bandwidth,
                 "GB/s this machine reads, for the monitor and /metrics (default: measured)")
      ->check(CLI::Range(0.0, 1e5));
  app.add_flag("--no-machine-limits", o->no_limits,
               "start without measuring what memory and processor can do");
  add_engine_options(app, o->engine);
  app.get_option("--ctx-size")
      ->description("KV tokens shared by all requests (default: one full context)");
  add_limit_options(app, *o);
  return [o] { return serve(*o); };
}

}  // namespace serval
