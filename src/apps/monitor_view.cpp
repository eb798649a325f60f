#include "apps/monitor_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace serval {
namespace {

constexpr int kLeast = 8;  // rows of the overview that are not tables

bool alive(const ShownRequest& r) { return r.ended < 0; }

std::string duration(double ms) {
  if (ms < 0) return "-";
  if (ms < 9.95) return fmt::format("{:.1f} ms", ms);
  if (ms < 9995) return fmt::format("{:.0f} ms", ms);
  const auto s = static_cast<int64_t>(ms / 1000);
  if (s < 120) return fmt::format("{} s", s);
  if (s < 7200) return fmt::format("{} min", s / 60);
  return fmt::format("{} h", s / 3600);
}

std::string rate(double value) {
  return value < 99.95 ? fmt::format("{:.1f}", value) : fmt::format("{:.0f}", value);
}

Ink ink_of(const std::string& state) {
  if (state == "decode") return Ink::kGreen;
  if (state == "prefill") return Ink::kYellow;
  if (state == "preempted" || state == "failed") return Ink::kRed;
  if (state == "waiting" || state == "loading" || state == "paused") return Ink::kCyan;
  return Ink::kDim;
}

class Painter {
 public:
  Painter(const MonitorState& state, const ViewOptions& options, int rows, int columns)
      : s_(state), o_(options), screen_(rows, columns), rows_(rows), columns_(columns) {}

  Screen paint() {
    head();
    const int last = rows_ - (o_.keys || !o_.notice.empty() ? 1 : 0);
    if (o_.help) {
      help();
    } else if (!s_.greeted) {
      screen_.put(2, 0, "waiting for the server", Ink::kDim);
    } else {
      page(last);
    }
    foot();
    return std::move(screen_);
  }

 private:
  void page(int last) {
    if (s_.from_metrics && o_.page != Page::kOverview) {
      without_rights(2, last);
      return;
    }
    if (s_.own) {
      own(last);
      return;
    }
    switch (o_.page) {
      case Page::kOverview:
        overview(last);
        break;
      case Page::kRequests:
        requests(2, last);
        break;
      case Page::kSteps:
        steps(2, last);
        break;
      case Page::kKeys:
        keys(2, last);
        break;
      case Page::kBlocks:
        blocks(2, last);
        break;
    }
  }

  void head() {
    int column = screen_.put(0, 0, "serval", Ink::kBold);
    if (!s_.greeted) return;
    if (s_.own) {
      column = screen_.put(0, column, fmt::format(" \u00b7 requests of {}", s_.keys[0].label));
    } else {
      const double up = s_.up_ms + s_.t_ms - s_.hello_ms;
      const std::string what =
          s_.from_metrics ? "of /metrics"
                          : fmt::format("{} \u00b7 up {}", s_.isa, duration(std::max(up, 0.0)));
      column = screen_.put(0, column, fmt::format(" {} \u00b7 {}", s_.model, what));
    }
    if (o_.paused) screen_.put(0, column, " \u00b7 paused", Ink::kYellow);
    screen_.put_right(0, columns_, fmt::format("running {}  waiting {}", s_.running, s_.waiting),
                      Ink::kBold);
  }

  void foot() {
    if (!o_.notice.empty()) {
      screen_.put(rows_ - 1, 0, o_.notice, Ink::kReverse);
    } else if (o_.keys) {
      screen_.put(rows_ - 1, 0,
                  "q quit  1-5 page  p pause  s sort  up/down select  c cancel  ? help", Ink::kDim);
    }
  }

  void roof(int row, const char* name, double value, double limit, const char* unit) {
    const int bar = std::clamp(columns_ - 50, 10, 60);
    screen_.put(row, 0, name);
    const BarPart part{limit > 0 ? std::min(1.0, s_.busy * value / limit) : 0, Ink::kGreen, '#'};
    draw_bar(screen_, row, 9, bar, {&part, 1}, o_.glyphs, o_.colours);
    const bool bound = s_.bound == name;
    std::string text =
        fmt::format("{}/{} {}", rate(s_.busy * value), limit > 0 ? rate(limit) : "?", unit);
    if (bound) text += ", the bound";
    screen_.put(row, 10 + bar, text, bound ? Ink::kBold : Ink::kPlain);
  }

  void overview(int last) {
    roof(1, "memory", s_.gbs, s_.limit_gbs, "GB/s");
    roof(2, "compute", s_.gmacs, s_.limit_gmacs, "GMAC/s");
    std::string line = fmt::format("busy {:.0f} %  decode {} tok/s  prefill {} tok/s",
                                   100 * s_.busy, rate(s_.dec), rate(s_.pre));
    if (s_.rec > 0) line += fmt::format("  again {}/s", rate(s_.rec));
    if (s_.power_w >= 0) line += fmt::format("  {:.1f} W", s_.power_w);
    screen_.put(3, 0, line);
    latencies(4);
    const int tables = std::clamp((last - kLeast) / 2, 4, 24);
    const int plot = std::max(0, last - kLeast - tables);
    const auto values = [](const std::deque<double>& deque) {
      return std::vector<double>(deque.begin(), deque.end());
    };
    throughput(5, plot, values(s_.decoded));
    ribbon(5 + plot);
    kv_bar(6 + plot);
    if (s_.from_metrics) {
      without_rights(8 + plot, last);
      return;
    }
    const int keys_rows = std::min(static_cast<int>(s_.keys.size()) + 1, tables / 3);
    requests(7 + plot, last - keys_rows);
    if (keys_rows > 1) keys(last - keys_rows, last);
  }

  void without_rights(int row, int last) {
    constexpr std::string_view kLines[] = {
        "No admin rights here: these are the figures of /metrics.",
        "Requests, steps, keys and blocks need an admin key: --key-file FILE."};
    for (const std::string_view line : kLines) {
      if (row < last) screen_.put(row++, 0, line, Ink::kYellow);
    }
  }

  // The requests of one key: whatever page is asked for, there is no other.
  void own(int last) {
    screen_.put(1, 0,
                "The requests of this key alone; all else needs an admin key: --key-file FILE.",
                Ink::kYellow);
    requests(3, last);
  }

  void latencies(int row) {
    const bool late = s_.target_ms > 0 && s_.itl[1] > s_.target_ms;
    int column =
        screen_.put(row, 0,
                    fmt::format("TTFT p50 {} p99 {}  ITL p50 {} p99 ", duration(s_.ttft[0]),
                                duration(s_.ttft[1]), duration(s_.itl[0])));
    column = screen_.put(row, column, duration(s_.itl[1]), late ? Ink::kRed : Ink::kPlain);
    if (s_.target_ms > 0) {
      column = screen_.put(row, column, fmt::format(" of {}", duration(s_.target_ms)), Ink::kDim);
    }
    if (s_.preempted > 0) {
      screen_.put(row, column, fmt::format("  preempted {}", s_.preempted), Ink::kRed);
    }
  }

  void throughput(int row, int rows, const std::vector<double>& values) {
    if (rows < 1) return;
    const int width = columns_ - 8;
    const auto fits = static_cast<size_t>(plot_values(width, o_.glyphs));
    const size_t shown = std::min(values.size(), fits);
    double top = 1;
    for (size_t i = values.size() - shown; i < values.size(); ++i) top = std::max(top, values[i]);
    top = nice_above(top);
    draw_plot(screen_, {row, 8, rows, width}, values, top, o_.glyphs, Ink::kGreen);
    screen_.put(row, 0, fmt::format("{:.0f}", top), Ink::kDim);
    if (rows > 1) screen_.put(row + 1, 0, "tok/s", Ink::kDim);
  }

  // The next of 1, 2, 5 times a power of ten: an axis that does not twitch.
  static double nice_above(double value) {
    double step = std::pow(10, std::floor(std::log10(value)));
    for (const double factor : {1.0, 2.0, 5.0, 10.0}) {
      if (factor * step >= value) return factor * step;
    }
    return 10 * step;
  }

  // One character a step, as high as the step is long against the target.
  void ribbon(int row) {
    screen_.put(row, 0, "steps");
    const auto width = static_cast<size_t>(std::max(columns_ - 8, 0));
    const size_t shown = std::min(width, s_.steps.size());
    std::vector<double> heights;
    std::vector<Ink> inks;
    const double target = s_.target_ms > 0 ? s_.target_ms : 250;
    for (size_t i = s_.steps.size() - shown; i < s_.steps.size(); ++i) {
      const ShownStep& step = s_.steps[i];
      heights.push_back(std::sqrt(step.us / 1000 / target));
      inks.push_back(step.us / 1000 > target ? Ink::kRed
                     : step.recomputed > 0   ? Ink::kMagenta
                     : step.prefill > 0      ? Ink::kYellow
                                             : Ink::kGreen);
    }
    draw_ribbon(screen_, row, 8, heights, inks, o_.glyphs);
  }

  void kv_bar(int row) {
    const double total = std::max(s_.blocks, 1);
    const auto part = [&](int64_t count, Ink ink, char letter) {
      return BarPart{static_cast<double>(count) / total, ink, letter};
    };
    const BarPart parts[] = {
        part(s_.kv.live, Ink::kGreen, 'L'), part(s_.kv.shared, Ink::kBlue, 'S'),
        part(s_.kv.pinned, Ink::kMagenta, 'P'), part(s_.kv.cached, Ink::kYellow, 'C')};
    const std::string text =
        s_.from_metrics ? fmt::format("tokens in use {} cached {} free {}", s_.kv.live,
                                      s_.kv.cached, s_.kv.free)
                        : fmt::format("live {} shared {} pinned {} cached {} free {}", s_.kv.live,
                                      s_.kv.shared, s_.kv.pinned, s_.kv.cached, s_.kv.free);
    const int bar = std::max(10, columns_ - 10 - static_cast<int>(text.size()));
    screen_.put(row, 0, "KV");
    draw_bar(screen_, row, 8, bar, parts, o_.glyphs, o_.colours);
    screen_.put(row, 9 + bar, text);
  }

  std::string label(int key) const {
    return key >= 0 && static_cast<size_t>(key) < s_.keys.size()
               ? s_.keys[static_cast<size_t>(key)].label
               : std::string();
  }

  void requests(int row, int last) {
    if (row >= last) return;
    constexpr const char* kOrders[] = {"newest", "slowest first token", "longest gap",
                                       "most tokens"};
    screen_.put(row, 0,
                fmt::format("{:>7} {:<12} {:>7} {:>7} {:>6} {:>8} {:>8} {:>8}", "request", "state",
                            "prompt", "cached", "out", "queue", "TTFT", "gap p99"),
                Ink::kBold);
    screen_.put_right(row, columns_, fmt::format("{}", kOrders[static_cast<size_t>(o_.order)]),
                      Ink::kDim);
    for (const ShownRequest* r : listed(s_, o_.order)) {
      if (++row >= last) return;
      const double until = r->began >= 0 ? r->began : r->ended >= 0 ? r->ended : s_.t_ms;
      const double queue = r->queued >= 0 ? std::max(0.0, until - r->queued) : -1;
      const bool chosen = r->id == o_.selected;
      const std::string prompt = r->state == "prefill" ? fmt::format("{}/{}", r->done, r->prompt)
                                                       : fmt::format("{}", r->prompt);
      int column =
          screen_.put(row, 0, fmt::format("{:>7} ", r->id), chosen ? Ink::kReverse : Ink::kPlain);
      column = screen_.put(row, column, fmt::format("{:<12}", r->state), ink_of(r->state));
      column = screen_.put(
          row, column,
          fmt::format(" {:>7} {:>7} {:>6} {:>8} {:>8} {:>8}", prompt, r->cached, r->generated,
                      duration(queue), duration(r->ttft), duration(r->gap99)),
          alive(*r) ? Ink::kPlain : Ink::kDim);
      if (r->evictions > 0) {
        column = screen_.put(row, column, fmt::format(" x{}", r->evictions), Ink::kRed);
      }
      screen_.put(row, column + 1, label(r->key), Ink::kDim);
    }
  }

  void steps(int row, int last) {
    screen_.put(row, 0,
                fmt::format("{:>9} {:>10} {:>10} {:>8} {:>8} {:>8} {:>8} {:>8}", "step", "took",
                            "predicted", "prefill", "decode", "again", "GB/s", "waiting"),
                Ink::kBold);
    for (auto step = s_.steps.rbegin(); step != s_.steps.rend() && ++row < last; ++step) {
      const bool late = s_.target_ms > 0 && step->us / 1000 > s_.target_ms;
      screen_.put(row, 0,
                  fmt::format("{:>9} {:>10} {:>10} {:>8} {:>8} {:>8} {:>8.1f} {:>8}", step->number,
                              duration(step->us / 1000), duration(step->predicted_us / 1000),
                              step->prefill, step->decode, step->recomputed,
                              step->us > 0 ? step->bytes / step->us / 1000 : 0, step->waiting),
                  late ? Ink::kRed : Ink::kPlain);
    }
  }

  void keys(int row, int last) {
    screen_.put(row, 0,
                fmt::format("{:<22} {:>8} {:>8} {:>8} {:>9} {:>9} {:>9}", "key", "running",
                            "waiting", "share", "behind", "wait p50", "wait p99"),
                Ink::kBold);
    for (const ShownKey& key : s_.keys) {
      if (++row >= last) return;
      const int column = screen_.put(row, 0, key.label.empty() ? "(no key)" : key.label);
      for (int blank = column; blank < 22; ++blank) screen_.put(row, blank, U' ', Ink::kPlain);
      screen_.put(
          row, 24,
          fmt::format(" {:>8} {:>8} {:>6.1f} % {:>9.0f} {:>9} {:>9}", key.running, key.waiting,
                      100 * key.share, key.deficit, duration(key.wait50), duration(key.wait99)));
    }
  }

  void blocks(int row, int last) {
    constexpr std::string_view kLetters = ".LSCPFD";
    constexpr Ink kInks[] = {Ink::kDim,     Ink::kGreen, Ink::kBlue,  Ink::kYellow,
                             Ink::kMagenta, Ink::kRed,   Ink::kYellow};
    screen_.put(
        row++, 0,
        fmt::format("a cell is {} block{} of {} tokens: . free  L live  S shared  C cached  "
                    "D also on disk  P pinned  F in flight",
                    s_.cell_blocks, s_.cell_blocks == 1 ? "" : "s", s_.block_tokens),
        Ink::kDim);
    int column = 0;
    for (const auto& [state, count] : s_.cells) {
      const size_t kind = static_cast<size_t>(std::clamp(state, 0, 6));
      for (int i = 0; i < count && row < last; ++i) {
        screen_.put(row, column, static_cast<char32_t>(kLetters[kind]), kInks[kind]);
        if (++column == columns_) {
          column = 0;
          ++row;
        }
      }
    }
  }

  void help() {
    constexpr std::string_view kLines[] = {
        "1 overview   2 requests   3 steps   4 keys   5 KV blocks",
        "p or space   stop and go on; the stream keeps coming",
        "s            order of the requests: newest, slowest first token, longest gap, most tokens",
        "up, down     select a request (also k and j)",
        "c            cancel the selected request, after a question",
        "q            leave",
        "",
        "steps: one character each, as high as the step is long against --max-itl-ms;",
        "       green decodes only, yellow with prompts, magenta computed again, red too long",
        "memory and compute: what the last second used of the machine's measured limits",
    };
    int row = 2;
    for (const std::string_view line : kLines) screen_.put(row++, 0, line);
  }

  const MonitorState& s_;
  const ViewOptions& o_;
  Screen screen_;
  const int rows_, columns_;
};

}  // namespace

std::vector<const ShownRequest*> listed(const MonitorState& state, Order order) {
  std::vector<const ShownRequest*> out;
  for (const auto& [id, request] : state.requests) out.push_back(&request);
  const auto key = [&](const ShownRequest& r) {
    switch (order) {
      case Order::kTtft:
        return r.ttft;
      case Order::kGap:
        return r.gap99;
      case Order::kTokens:
        return static_cast<double>(r.generated);
      case Order::kId:
        break;
    }
    return static_cast<double>(r.id);
  };
  std::stable_sort(out.begin(), out.end(), [&](const ShownRequest* a, const ShownRequest* b) {
    if (order == Order::kId && alive(*a) != alive(*b)) return alive(*a);
    return key(*a) > key(*b);
  });
  return out;
}

Screen draw_monitor(const MonitorState& state, const ViewOptions& options, int rows, int columns) {
  return Painter(state, options, rows, columns).paint();
}

}  // namespace serval
