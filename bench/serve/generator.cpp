#include "serve/generator.h"

#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <utility>

namespace bench {
namespace {

Clock::duration seconds(double value) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(value));
}

double cpu_seconds() {
  struct rusage usage = {};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto value = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return value(usage.ru_utime) + value(usage.ru_stime);
}

class Generator {
 public:
  Generator(Shared& shared, Workload& workload, const LoadOptions& options)
      : shared_(shared),
        workload_(workload),
        options_(options),
        random_(options.seed),
        arrival_(shared.io),
        probe_(shared.io) {
    out_.requests.resize(workload.count());
  }

  LoadResult run() {
    const double cpu = cpu_seconds();
    shared_.begin = Clock::now();
    if (workload_.scripted()) {
      schedule_script();
    } else if (std::isinf(options_.request_rate)) {
      arrived_ = workload_.count();
      fill();
    } else {
      wait_for_arrival();
    }
    if (!options_.probe_path.empty()) probe();
    shared_.io.run();
    shared_.idle.clear();
    for (const Result& one : out_.requests) out_.duration_s = std::max(out_.duration_s, one.end);
    out_.client_cpu_s = cpu_seconds() - cpu;
    return std::move(out_);
  }

 private:
  bool has_place() const {
    return options_.max_concurrency == 0 || open_ < options_.max_concurrency;
  }

  // Sends what has arrived, has a place, and waits for no earlier turn.
  void fill() {
    while (sent_ < arrived_ && has_place()) {
      std::optional<Job> job = workload_.next();
      if (!job) return;
      ++sent_;
      send(std::move(*job));
    }
  }

  void wait_for_arrival() {
    std::exponential_distribution<double> gap(options_.request_rate);
    next_arrival_ += gap(random_);
    arrival_.expires_at(shared_.begin + seconds(next_arrival_));
    arrival_.async_wait([this](boost::system::error_code code) {
      if (code) return;
      ++arrived_;
      fill();
      if (arrived_ < workload_.count()) wait_for_arrival();
    });
  }

  void schedule_script() {
    while (std::optional<Job> job = workload_.next()) {
      const auto timer = std::make_shared<asio::steady_timer>(
          shared_.io, shared_.begin + seconds(job->line->at.value_or(0)));
      ++arrived_;
      ++sent_;
      timer->async_wait([this, timer, job = std::move(*job)](boost::system::error_code) mutable {
        send(std::move(job));
      });
    }
  }

  void send(Job job) {
    ++open_;
    out_.peak_concurrency = std::max(out_.peak_concurrency, open_);
    Ask ask;
    ask.target = job.chat ? "/v1/chat/completions" : "/v1/completions";
    ask.body = std::move(job.body);
    ask.hang_up_after_s = job.line->hang_up_after_s;
    ask.hang_up_after_tokens = job.line->hang_up_after_tokens;
    Result result;
    result.index = job.index;
    result.label = job.line->label;
    std::make_shared<Exchange>(shared_, std::move(ask), std::move(result), [this, job](Result r) {
      finished(job, std::move(r));
    })->start();
  }

  void finished(const Job& job, Result result) {
    --open_;
    ++finished_;
    workload_.answered(job, result.text);
    out_.requests[job.index] = std::move(result);
    // From the loop, not from here: a server that refuses at once would nest without end.
    asio::post(shared_.io, [this] { fill(); });
    if (finished_ == workload_.count()) probe_.cancel();
  }

  void probe() {
    Ask ask;
    ask.get = true;
    ask.target = options_.probe_path;
    std::make_shared<Exchange>(shared_, std::move(ask), Result{}, [this](Result r) {
      out_.probes.push_back(std::move(r));
      if (finished_ == workload_.count()) return;
      probe_.expires_after(seconds(options_.probe_every_s));
      probe_.async_wait([this](boost::system::error_code code) {
        if (!code) probe();
      });
    })->start();
  }

  Shared& shared_;
  Workload& workload_;
  const LoadOptions& options_;
  std::mt19937_64 random_;
  asio::steady_timer arrival_, probe_;
  double next_arrival_ = 0;
  size_t arrived_ = 0, sent_ = 0, open_ = 0, finished_ = 0;
  LoadResult out_;
};

}  // namespace

LoadResult run_load(Shared& shared, Workload& workload, const LoadOptions& options) {
  return Generator(shared, workload, options).run();
}

}  // namespace bench
