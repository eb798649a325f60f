// Definitions as in `vllm bench serve` (docs.vllm.ai, "Benchmark CLI"): TTFT from sending to the
// first text; ITL every gap between pieces of text; TPOT (last text - first) / (tokens - 1);
// E2EL to the last text. Failed and hung-up requests count in no latency. Percentiles interpolate
// linearly between ranks, as NumPy's do.
#include "serve/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace bench {
namespace {

namespace json = boost::json;

double percentile(const std::vector<double>& sorted, double percent) {
  if (sorted.empty()) return 0;
  const double rank = percent / 100 * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<size_t>(rank);
  const size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (rank - static_cast<double>(low)) * (sorted[high] - sorted[low]);
}

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

// mean_NAME_ms, median_, std_, p99_, max_ of seconds.
void add_latency(json::object& out, const std::string& name, std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const double middle = mean(values);
  double squares = 0;
  for (const double value : values) squares += (value - middle) * (value - middle);
  const double deviation =
      values.empty() ? 0 : std::sqrt(squares / static_cast<double>(values.size()));
  out["mean_" + name + "_ms"] = middle * 1000;
  out["median_" + name + "_ms"] = percentile(values, 50) * 1000;
  out["std_" + name + "_ms"] = deviation * 1000;
  out["p99_" + name + "_ms"] = percentile(values, 99) * 1000;
  out["max_" + name + "_ms"] = (values.empty() ? 0 : values.back()) * 1000;
}

bool succeeded(const Result& one) { return one.complete && one.error.empty() && !one.hung_up; }
bool refused(const Result& one) { return one.status == 429 || one.status == 503; }

json::object figures(const std::vector<const Result*>& results, double duration) {
  size_t completed = 0, failed = 0, hung_up = 0, turned_away = 0;
  int64_t in = 0, out = 0, cached = 0;
  std::vector<double> ttft, tpot, itl, e2el, refusal;
  for (const Result* one : results) {
    if (one->hung_up) {
      ++hung_up;
    } else if (refused(*one)) {
      ++turned_away;
      refusal.push_back(one->end - one->start);
    } else if (!succeeded(*one)) {
      ++failed;
    } else {
      ++completed;
      in += one->prompt_tokens;
      out += one->completion_tokens;
      cached += one->cached_tokens;
      e2el.push_back((one->pieces > 0 ? one->last : one->end) - one->start);
      if (one->pieces > 0) ttft.push_back(one->first - one->start);
      if (one->completion_tokens > 1 && one->pieces > 1) {
        tpot.push_back((one->last - one->first) / (one->completion_tokens - 1));
      }
      itl.insert(itl.end(), one->gaps.begin(), one->gaps.end());
    }
  }
  const double seconds = std::max(duration, 1e-9);
  json::object figures = {
      {"completed", completed},
      {"failed", failed},
      {"refused", turned_away},
      {"hung_up", hung_up},
      {"total_input_tokens", in},
      {"total_output_tokens", out},
      {"total_cached_tokens", cached},
      {"request_throughput", static_cast<double>(completed) / seconds},
      {"output_throughput", static_cast<double>(out) / seconds},
      {"total_token_throughput", static_cast<double>(in + out) / seconds},
  };
  add_latency(figures, "ttft", std::move(ttft));
  add_latency(figures, "tpot", std::move(tpot));
  add_latency(figures, "itl", std::move(itl));
  add_latency(figures, "e2el", std::move(e2el));
  add_latency(figures, "refusal", std::move(refusal));
  return figures;
}

void add_details(json::object& report, const std::vector<Result>& results) {
  json::array starts, ttfts, ends, itls, input, output, cached, statuses, texts, errors, labels;
  json::array finishes, hung_up, complete;
  for (const Result& one : results) {
    starts.emplace_back(one.start);
    ttfts.emplace_back(one.pieces > 0 ? one.first - one.start : 0.0);
    ends.emplace_back(one.end);
    itls.emplace_back(json::array(one.gaps.begin(), one.gaps.end()));
    input.emplace_back(one.prompt_tokens);
    output.emplace_back(one.completion_tokens);
    cached.emplace_back(one.cached_tokens);
    statuses.emplace_back(one.status);
    texts.emplace_back(one.text);
    errors.emplace_back(one.error);
    labels.emplace_back(one.label);
    finishes.emplace_back(one.finish);
    hung_up.emplace_back(one.hung_up);
    complete.emplace_back(one.complete);
  }
  report["start_times"] = std::move(starts);
  report["ttfts"] = std::move(ttfts);
  report["end_times"] = std::move(ends);
  report["itls"] = std::move(itls);
  report["input_lens"] = std::move(input);
  report["output_lens"] = std::move(output);
  report["cached_lens"] = std::move(cached);
  report["statuses"] = std::move(statuses);
  report["generated_texts"] = std::move(texts);
  report["errors"] = std::move(errors);
  report["labels"] = std::move(labels);
  report["finish_reasons"] = std::move(finishes);
  report["hang_ups"] = std::move(hung_up);
  report["completes"] = std::move(complete);
}

json::object probe_figures(const std::vector<Result>& probes) {
  std::vector<double> times;
  size_t failed = 0;
  for (const Result& one : probes) {
    if (succeeded(one)) {
      times.push_back(one.end - one.start);
    } else {
      ++failed;
    }
  }
  json::object out = {{"count", probes.size()}, {"failed", failed}};
  add_latency(out, "probe", std::move(times));
  return out;
}

}  // namespace

json::object make_report(const LoadResult& load, const ReportOptions& options) {
  std::vector<const Result*> all;
  std::map<std::string, std::vector<const Result*>> by_label;
  std::map<std::string, int> faults;
  for (const Result& one : load.requests) {
    all.push_back(&one);
    if (!one.label.empty()) by_label[one.label].push_back(&one);
    if (!succeeded(one) && !one.hung_up) ++faults[fmt::format("{}: {}", one.status, one.error)];
  }
  json::object report = figures(all, load.duration_s);
  report["date"] = options.date;
  report["backend"] = "openai";
  report["model_id"] = options.model;
  report["num_prompts"] = load.requests.size();
  const double rate = options.load.request_rate;
  report["request_rate"] = std::isinf(rate) ? json::value("inf") : json::value(rate);
  report["max_concurrency"] =
      options.load.max_concurrency > 0 ? json::value(options.load.max_concurrency) : nullptr;
  report["seed"] = options.load.seed;
  report["duration"] = load.duration_s;
  report["max_concurrent_requests"] = load.peak_concurrency;
  report["client_cpu_percent"] = 100 * load.client_cpu_s / std::max(load.duration_s, 1e-9);
  json::object groups, reasons;
  for (const auto& [label, results] : by_label) groups[label] = figures(results, load.duration_s);
  for (const auto& [what, count] : faults) reasons[what] = count;
  if (!groups.empty()) report["by_label"] = std::move(groups);
  report["faults"] = std::move(reasons);
  if (!options.load.probe_path.empty()) report["probe"] = probe_figures(load.probes);
  if (options.detailed) add_details(report, load.requests);
  return report;
}

std::string summary(const json::object& report) {
  const auto number = [&](const char* name) { return report.at(name).to_number<double>(); };
  std::string out = fmt::format(
      "{:.0f} completed, {:.0f} failed, {:.0f} refused, {:.0f} hung up in {:.2f} s; {:.2f} "
      "requests/s, {:.1f} output tokens/s, {:.1f} tokens/s; client {:.2f} % of a core\n",
      number("completed"), number("failed"), number("refused"), number("hung_up"),
      number("duration"), number("request_throughput"), number("output_throughput"),
      number("total_token_throughput"), number("client_cpu_percent"));
  for (const char* name : {"ttft", "tpot", "itl", "e2el"}) {
    const auto at = [&](const char* which) {
      return number(fmt::format("{}_{}_ms", which, name).c_str());
    };
    out += fmt::format("{:5} ms  mean {:10.1f}  median {:10.1f}  p99 {:10.1f}  max {:10.1f}\n",
                       name, at("mean"), at("median"), at("p99"), at("max"));
  }
  for (const auto& fault : report.at("faults").as_object()) {
    out +=
        fmt::format("{} times {}\n", fault.value().to_number<int>(), std::string_view(fault.key()));
  }
  return out;
}

}  // namespace bench
