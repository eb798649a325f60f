// serval trace: the last seconds of a running server as a file for a trace viewer.
#include <fmt/format.h>

#include <cstring>
#include <fstream>
#include <memory>

#include "apps/admin_client.h"
#include "apps/command.h"
#include "apps/environment.h"
#include "apps/monitor_source.h"
#include "apps/options.h"
#include "apps/terminal.h"
#include "base/file.h"

namespace serval {
namespace {

struct TraceOptions {
  std::string address = "http://127.0.0.1:8080", key_file, output, format = "pftrace";
  int seconds = 10;
};

int save_trace(const TraceOptions& options) {
  std::string key = environment_api_key();
  if (!options.key_file.empty()) {
    key = read_text_file(options.key_file, 64 * 1024);
    key = key.substr(0, key.find_first_of(" \t\r\n"));
  }
  AdminReply reply;
  try {
    AdminClient client(options.address, key);
    reply = client.get(
        fmt::format("/admin/trace?seconds={}&format={}", options.seconds, options.format));
  } catch (const Error& error) {
    notice(error.message());
    return kExitUnreachable;
  }
  if (reply.status != 200) throw Error(ErrorCode::kInvalidArgument, error_message(reply));
  const std::string path = options.output.empty() ? "serval." + options.format : options.output;
  if (path == "-") {
    print(reply.body);
    return kExitDone;
  }
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << reply.body;
  file.close();
  if (!file) throw Error(ErrorCode::kIo, fmt::format("{}: {}", path, std::strerror(errno)));
  notice(fmt::format("{}: {} of the last {} s; open it at https://ui.perfetto.dev", path,
                     format_bytes(reply.body.size()), options.seconds));
  return kExitDone;
}

}  // namespace

Action define_trace(CLI::App& app) {
  const auto o = std::make_shared<TraceOptions>();
  app.add_option("address", o->address, "http://host:port, https://..., or unix:/path")
      ->capture_default_str();
  app.add_option("-s,--seconds", o->seconds, "so far back, as far as the server remembers")
      ->check(CLI::Range(1, 3600))
      ->capture_default_str();
  app.add_option("-o,--output", o->output, "file; - is standard output (default: serval.FORMAT)");
  app.add_option("--format", o->format, "pftrace (Perfetto) or json (Chrome)")
      ->check(CLI::IsMember({"pftrace", "json"}))
      ->capture_default_str();
  app.add_option("--key-file", o->key_file,
                 "file with an admin key (default: the variable SERVAL_API_KEY)");
  return [o] { return save_trace(*o); };
}

}  // namespace serval
