#include "server/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>

namespace serval {
namespace {

constexpr double kSeconds[] = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,   2.5,
                               5,     10,   20,    40,   80,  160,  320, 640, 1280};
constexpr double kGaps[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15,
                            0.2,   0.3,    0.4,   0.5,  0.75,  1,    2.5,   5,   10};
constexpr double kTokens[] = {1,   2,    5,    10,   20,    50,    100,   200,
                              500, 1000, 2000, 5000, 10000, 20000, 50000, 100000};

std::string escaped(std::string_view label) {
  std::string out;
  for (const char c : label) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out;
}

struct Family {
  std::string_view name, help, labels;
};

// counts: [bounds + 1], of each bucket alone.
void render_histogram(std::string& out, const Family& family, std::span<const double> bounds,
                      std::span<const uint64_t> counts, double sum) {
  const auto& [name, help, labels] = family;
  out += fmt::format("# HELP {} {}\n# TYPE {} histogram\n", name, help, name);
  uint64_t total = 0;
  for (size_t i = 0; i < bounds.size(); ++i) {
    total += counts[i];
    out += fmt::format("{}_bucket{{{},le=\"{}\"}} {}\n", name, labels, bounds[i], total);
  }
  total += counts[bounds.size()];
  out += fmt::format("{}_bucket{{{},le=\"+Inf\"}} {}\n{}_sum{{{}}} {}\n{}_count{{{}}} {}\n", name,
                     labels, total, name, labels, sum, name, labels, total);
}

class Text {
 public:
  explicit Text(std::string labels) : labels_(std::move(labels)) {}

  template <typename T>
  void one(std::string_view type, std::string_view name, std::string_view help, T value) {
    head(type, name, help);
    out += fmt::format("{}{{{}}} {}\n", name, labels_, value);
  }
  void head(std::string_view type, std::string_view name, std::string_view help) {
    out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
  }
  template <typename T>
  void row(std::string_view name, std::string_view label, std::string_view value, T number) {
    out += fmt::format("{}{{{},{}=\"{}\"}} {}\n", name, labels_, label, value, number);
  }

  std::string out;

 private:
  std::string labels_;
};

void render_engine(Text& text, const EngineStats& stats) {
  const double used = stats.kv_tokens_total > 0 ? static_cast<double>(stats.kv_tokens_used) /
                                                      static_cast<double>(stats.kv_tokens_total)
                                                : 0.0;
  text.one("gauge", "vllm:num_requests_running", "Sequences in the batch.", stats.running);
  text.one("gauge", "vllm:num_requests_waiting", "Sequences waiting to enter it.", stats.waiting);
  text.one("gauge", "vllm:kv_cache_usage_perc", "Share of KV tokens in use; 1 is all.", used);
  text.one("gauge", "serval:kv_cache_tokens", "KV tokens of the pool.", stats.kv_tokens_total);
  text.one("gauge", "serval:kv_cache_tokens_cached", "KV tokens kept for reuse, not in use.",
           stats.kv_tokens_cached);
  text.one("counter", "vllm:prompt_tokens_total", "Prompt tokens, cached or computed.",
           stats.prompt_tokens);
  text.one("counter", "vllm:generation_tokens_total", "Tokens generated.", stats.completion_tokens);
  text.one("counter", "vllm:prefix_cache_queries_total", "Prompt tokens looked up in the cache.",
           stats.prompt_tokens);
  text.one("counter", "vllm:prefix_cache_hits_total", "Prompt tokens found in the cache.",
           stats.cached_tokens);
  text.one("counter", "serval:prompt_tokens_computed_total",
           "Prompt tokens not found in the cache.", stats.prompt_tokens - stats.cached_tokens);
  text.head("counter", "serval:prefix_cache_hits_total", "Of these, by where they were found.");
  text.row("serval:prefix_cache_hits_total", "tier", "memory",
           stats.cached_tokens - stats.disk_cached_tokens);
  text.row("serval:prefix_cache_hits_total", "tier", "disk", stats.disk_cached_tokens);
  text.one("gauge", "serval:disk_cache_blocks", "KV blocks in --kv-cache-dir.", stats.disk_blocks);
  text.one("gauge", "serval:disk_cache_bytes", "Bytes of its files.", stats.disk_bytes);
  text.head("counter", "serval:disk_cache_blocks_total", "KV blocks by what became of them there.");
  text.row("serval:disk_cache_blocks_total", "outcome", "written", stats.disk_blocks_written);
  text.row("serval:disk_cache_blocks_total", "outcome", "dropped", stats.disk_blocks_dropped);
  text.row("serval:disk_cache_blocks_total", "outcome", "damaged", stats.disk_blocks_damaged);
  text.one("counter", "serval:disk_cache_write_errors_total",
           "Faults of the disk; after the first, nothing more is written.",
           stats.disk_write_errors);
  text.one("counter", "vllm:num_preemptions_total", "Sequences that had to give their KV back.",
           stats.preemptions);
  text.one("counter", "serval:requests_cancelled_total", "Sequences cancelled.", stats.cancelled);
  text.one("counter", "serval:rows_total", "Token rows computed.", stats.rows);
  text.one("counter", "serval:rows_after_cancel_total",
           "Of these, in a step that a cancel of their request overtook.", stats.rows_after_cancel);
}

// What the steps cost. Predicted over actual time is the cost model's error; bytes over time is the
// memory bandwidth achieved.
void render_steps(Text& text, const EngineStats& stats, const RecentSteps& recent,
                  const std::string& labels) {
  text.one("counter", "serval:engine_steps_total", "Batches computed.", stats.steps);
  text.one("counter", "serval:step_predicted_seconds_total",
           "Time that the cost model expected the steps to take.",
           static_cast<double>(stats.predicted_step_us) / 1e6);
  text.head("counter", "serval:step_read_bytes_total", "Bytes that the steps read, at least.");
  text.row("serval:step_read_bytes_total", "what", "weights", stats.weight_bytes);
  text.row("serval:step_read_bytes_total", "what", "kv", stats.kv_bytes);
  text.one("gauge", "serval:step_read_bytes_per_second", "Achieved in the last steps.",
           recent.bytes_per_second);
  if (recent.roofline_ratio > 0) {
    text.one("gauge", "serval:roofline_ratio",
             "Share of the machine's memory bandwidth that the last steps achieved.",
             recent.roofline_ratio);
  }
  render_histogram(text.out, {"serval:step_seconds", "Time of a step.", labels}, kStepSeconds,
                   stats.step_histogram, static_cast<double>(stats.step_us) / 1e6);
}

// Where the time of the steps went, all layers together.
void render_operators(Text& text, const std::vector<OperatorWork>& work) {
  std::array<OperatorWork, kOperators> sums;
  for (const OperatorWork& row : work) {
    OperatorWork& sum = sums[static_cast<size_t>(row.op)];
    sum.nanoseconds += row.nanoseconds;
    sum.bytes += row.bytes;
    sum.macs += row.macs;
  }
  const auto family = [&](const char* name, const char* help, const auto& value) {
    text.head("counter", name, help);
    for (size_t op = 0; op < kOperators; ++op) {
      text.row(name, "operator", kOperatorNames[op], value(sums[op]));
    }
  };
  family("serval:operator_seconds_total", "Time of the steps by operator.",
         [](const OperatorWork& sum) { return static_cast<double>(sum.nanoseconds) / 1e9; });
  family("serval:operator_read_bytes_total", "Weights, K and V that they read, at least.",
         [](const OperatorWork& sum) { return sum.bytes; });
  family("serval:operator_macs_total", "Their multiply-adds.",
         [](const OperatorWork& sum) { return sum.macs; });
}

void render_connections(Text& text, const ConnectionCounts& counts) {
  text.one("gauge", "serval:http_connections", "Open connections.", counts.open.load());
  text.one("gauge", "serval:http_streams", "Open event streams.", counts.streams.load());
  text.one("counter", "serval:http_connections_total", "Connections accepted.",
           counts.accepted.load());
  text.one("counter", "serval:http_faults_total", "Connections ended by a fault of the server.",
           counts.faults.load());
  text.one("gauge", "serval:http_streams_paused", "Streams whose reader is behind.",
           counts.paused.load());
  text.one("gauge", "serval:http_body_bytes", "Request bodies in memory.",
           counts.body_bytes.load());
  text.one("counter", "serval:tls_handshakes_failed_total", "Connections without a TLS session.",
           counts.handshakes_failed.load());
  text.head("counter", "serval:http_limit_hits_total", "Clients that met a limit.");
  for (size_t i = 0; i < kLimitNames.size(); ++i) {
    text.row("serval:http_limit_hits_total", "limit", kLimitNames[i], counts.limit_hits[i].load());
  }
}

}  // namespace

void Histogram::record(double value) {
  const auto bucket = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
  counts_[static_cast<size_t>(bucket)].fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(value, std::memory_order_relaxed);
}

void Histogram::render(std::string& out, std::string_view name, std::string_view help,
                       std::string_view labels) const {
  std::array<uint64_t, kMaxBuckets + 1> counts{};
  for (size_t i = 0; i < counts.size(); ++i) {
    counts[i] = counts_[i].load(std::memory_order_relaxed);
  }
  render_histogram(out, {name, help, labels}, bounds_, std::span(counts).first(bounds_.size() + 1),
                   sum_.load());
}

Metrics::Metrics()
    : time_to_first_token(kSeconds),
      inter_token(kGaps),
      end_to_end(kSeconds),
      queue(kSeconds),
      prefill(kSeconds),
      decode(kSeconds),
      prompt_tokens(kTokens),
      generation_tokens(kTokens) {}

void Metrics::count_reply(int status) {
  const auto found = std::find(kStatuses.begin(), kStatuses.end(), status);
  if (found != kStatuses.end()) ++replies_[static_cast<size_t>(found - kStatuses.begin())];
}

RecentSteps measure(std::span<const StepRecord> steps, double bandwidth) {
  double us = 0;
  double bytes = 0;
  for (const StepRecord& step : steps) {
    us += static_cast<double>(step.end_us - step.begin_us);
    bytes += static_cast<double>(step.weight_bytes + step.kv_bytes);
  }
  RecentSteps recent;
  if (us > 0) recent.bytes_per_second = bytes / us * 1e6;
  if (bandwidth > 0) recent.roofline_ratio = recent.bytes_per_second / bandwidth;
  return recent;
}

std::string Metrics::render(const EngineStats& engine, const std::vector<OperatorWork>& work,
                            const RecentSteps& recent, const ConnectionCounts& connections,
                            std::string_view model) const {
  const std::string labels = fmt::format("model_name=\"{}\"", escaped(model));
  Text text(labels);
  render_engine(text, engine);
  render_steps(text, engine, recent, labels);
  render_operators(text, work);
  render_connections(text, connections);

  text.head("counter", "vllm:request_success_total", "Choices finished, by reason.");
  text.row("vllm:request_success_total", "finished_reason", "stop", finished_stop.load());
  text.row("vllm:request_success_total", "finished_reason", "length", finished_length.load());
  text.row("vllm:request_success_total", "finished_reason", "abort", finished_abort.load());
  text.one("counter", "serval:requests_failed_total", "Choices that failed.", failed.load());
  text.one("counter", "serval:key_refusals_total", "Requests over their key's own share.",
           key_refusals.load());
  text.head("counter", "serval:http_requests_total", "Replies by status; 0: the client left.");
  for (size_t i = 0; i < kStatuses.size(); ++i) {
    text.row("serval:http_requests_total", "status", std::to_string(kStatuses[i]),
             replies_[i].load());
  }
  std::string& out = text.out;
  time_to_first_token.render(out, "vllm:time_to_first_token_seconds",
                             "From the request's arrival to its first token.", labels);
  inter_token.render(out, "vllm:inter_token_latency_seconds", "Between tokens of one choice.",
                     labels);
  end_to_end.render(out, "vllm:e2e_request_latency_seconds",
                    "From the request's arrival to its last token.", labels);
  queue.render(out, "vllm:request_queue_time_seconds", "Waiting for the first computed row.",
               labels);
  prefill.render(out, "vllm:request_prefill_time_seconds", "First computed row to first token.",
                 labels);
  decode.render(out, "vllm:request_decode_time_seconds", "First token to last token.", labels);
  prompt_tokens.render(out, "vllm:request_prompt_tokens", "Prompt tokens per choice.", labels);
  generation_tokens.render(out, "vllm:request_generation_tokens", "Generated tokens per choice.",
                           labels);
  return std::move(out);
}

}  // namespace serval
