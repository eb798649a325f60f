// bench_serve: load for a server of the OpenAI protocol, by one thread, with the options and the
// JSON of `vllm bench serve`.
#include <fmt/format.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <stdexcept>

#include "serve/generator.h"
#include "serve/report.h"

namespace bench {
namespace {

struct Options {
  std::string base_url = "http://127.0.0.1:8080", dataset, api_key, extra_body = "{}", result_file;
  BodyDefaults body;
  LoadOptions load;
  size_t num_prompts = 0;
  double timeout_s = 600;
  bool no_stream = false, no_keep_alive = false, detailed = false;
};

void define(CLI::App& app, Options& o) {
  app.add_option("--base-url", o.base_url, "http://HOST:PORT")->capture_default_str();
  app.add_option("--dataset-path", o.dataset, "JSON lines, see bench/serve/workload.h")->required();
  app.add_option("--num-prompts", o.num_prompts, "requests in all (default: every line once)");
  app.add_option("--max-concurrency", o.load.max_concurrency, "requests open at once");
  app.add_option("--request-rate", o.load.request_rate, "arrivals per second, Poisson; inf: all");
  app.add_option("--seed", o.load.seed, "of the arrivals")->capture_default_str();
  app.add_option("--model", o.body.model, "sent as `model`");
  app.add_option("--api-key", o.api_key, "sent as the bearer token");
  app.add_option("--output-len", o.body.max_tokens, "max_tokens of lines without their own")
      ->capture_default_str();
  app.add_option("--temperature", o.body.temperature, "0: greedy")->capture_default_str();
  app.add_flag("--ignore-eos", o.body.ignore_eos, "generate to the limit");
  app.add_option("--extra-body", o.extra_body, "further fields of every request, a JSON object");
  app.add_flag("--no-stream", o.no_stream, "ask for whole answers");
  app.add_flag("--no-keep-alive", o.no_keep_alive, "one connection per request");
  app.add_option("--timeout", o.timeout_s, "seconds a request may take")->capture_default_str();
  app.add_option("--probe", o.load.probe_path, "a path to GET beside the load, such as /health");
  app.add_option("--probe-every", o.load.probe_every_s, "seconds between probes")
      ->capture_default_str();
  app.add_flag("--save-detailed", o.detailed, "with the arrays per request");
  app.add_option("--result-filename", o.result_file, "write the JSON here; else to stdout");
}

// Splits http://HOST:PORT and resolves the host once.
void set_address(Shared& shared, std::string url) {
  constexpr std::string_view kScheme = "http://";
  if (!url.starts_with(kScheme)) throw std::runtime_error(url + ": only http:// is understood");
  url.erase(0, kScheme.size());
  url.erase(std::min(url.find('/'), url.size()));
  const size_t colon = url.rfind(':');
  const std::string host = url.substr(0, colon);
  const std::string port = colon == std::string::npos ? "80" : url.substr(colon + 1);
  Tcp::resolver resolver(shared.io);
  shared.endpoint = resolver.resolve(host, port).begin()->endpoint();
  shared.host = url;
}

void raise_descriptor_limit() {
  struct rlimit limit = {};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  struct tm utc = {};
  ::gmtime_r(&now, &utc);
  char text[32];
  return {text, std::strftime(text, sizeof text, "%Y%m%d-%H%M%S", &utc)};
}

int run(Options& o) {
  raise_descriptor_limit();
  o.body.stream = !o.no_stream;
  o.body.extra = boost::json::parse(o.extra_body).as_object();
  const std::vector<Line> lines = read_lines(o.dataset);
  Workload workload(lines, o.num_prompts, o.body);
  Shared shared;
  set_address(shared, o.base_url);
  shared.api_key = o.api_key;
  shared.keep_alive = !o.no_keep_alive;
  shared.timeout_s = o.timeout_s;
  const LoadResult load = run_load(shared, workload, o.load);
  const auto report = make_report(load, {o.body.model, utc_now(), o.load, o.detailed});
  std::fputs(summary(report).c_str(), stderr);
  const std::string text = boost::json::serialize(report) + "\n";
  if (o.result_file.empty()) {
    std::fputs(text.c_str(), stdout);
  } else {
    std::ofstream file(o.result_file);
    file << text;
    file.close();
    if (!file) throw std::runtime_error("cannot write " + o.result_file);
  }
  return 0;
}

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
  CLI::App app{"Load for a server of the OpenAI protocol"};
  bench::Options options;
  bench::define(app, options);
  CLI11_PARSE(app, argc, argv);
  try {
    return bench::run(options);
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_serve: {}\n", error.what());
    return 1;
  }
}
