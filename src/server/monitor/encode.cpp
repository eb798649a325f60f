// Written by hand into one string: a frame with its steps is encoded in some ten microseconds.
#include "server/monitor/encode.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <boost/json/string.hpp>
#include <chrono>
#include <iterator>

#include "backend/forward_batch.h"
#include "base/utf8.h"

namespace serval {
namespace {

constexpr int kMostCells = 8192;
constexpr size_t kMostNodes = 500;

class Line {
 public:
  template <typename... Values>
  Line& add(fmt::format_string<Values...> format, Values&&... values) {
    fmt::format_to(std::back_inserter(out_), format, std::forward<Values>(values)...);
    return *this;
  }
  Line& text(std::string_view quoted) {
    out_ += boost::json::serialize(boost::json::string(replace_invalid_utf8(quoted)));
    return *this;
  }
  // Microseconds as milliseconds, or null when they are not known.
  Line& ms(int64_t us) { return us < 0 ? add("null") : add("{}.{:03}", us / 1000, us % 1000); }
  Line& time(int64_t at_us, int64_t epoch_us) {
    return at_us < 0 ? add("null") : ms(std::max<int64_t>(at_us - epoch_us, 0));
  }
  Line& number(std::optional<double> value) {
    return value && std::isfinite(*value) ? add("{:.6g}", *value) : add("null");
  }
  // "name":[...]; `one` appends one item of the range.
  template <typename Range, typename One>
  Line& list(std::string_view name, const Range& items, const One& one) {
    add("\"{}\":[", name);
    bool first = true;
    for (const auto& item : items) {
      if (!first) out_ += ',';
      first = false;
      one(item);
    }
    out_ += ']';
    return *this;
  }
  std::string take() { return std::move(out_); }

 private:
  std::string out_;
};

int64_t unix_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::optional<double> unless_zero(double value) {
  return value > 0 ? std::optional(value) : std::nullopt;
}

const char* bound_of(const Rates& rates, const MonitorIdentity& identity) {
  if (rates.busy <= 0) return "idle";
  if (identity.limit_gbs <= 0 || identity.limit_gmacs <= 0) return "unknown";
  return rates.gbs / identity.limit_gbs >= rates.gmacs / identity.limit_gmacs ? "memory"
                                                                              : "compute";
}

}  // namespace

std::string hello_json(const MonitorIdentity& identity, const ModelInfo& model,
                       const EngineStats& stats, int hz, int64_t since_epoch_us) {
  Line line;
  line.add(R"({{"v":1,"server":{{"version":)").text(identity.version);
  line.add(R"(,"instance":)").text(identity.instance).add(R"(,"up_ms":)").ms(since_epoch_us);
  line.add(R"(}},"t_ms":)").ms(since_epoch_us).add(R"(,"unix_ms":{})", unix_ms());
  line.add(R"(,"machine":{{"isa":)").text(model.kernels);
  line.add(R"(,"cores":{},"limit_gbs":)", model.threads).number(unless_zero(identity.limit_gbs));
  line.add(R"(,"limit_gmacs":)").number(unless_zero(identity.limit_gmacs));
  if (identity.measured_unix_ms > 0) {
    line.add(R"(,"measured_at":{})", identity.measured_unix_ms);
  } else {
    line.add(R"(,"measured_at":null)");
  }
  line.add(R"(}},"model":{{"id":)").text(identity.model);
  line.add(R"(,"layers":{},"ctx":{},"type":)", model.layers, model.context);
  line.text(model.architecture);
  line.add(R"(,"parameters":{},"weight_bytes":{}}})", model.parameters, model.weight_bytes);
  const int64_t blocks = stats.kv_tokens_total / kBlockTokens;
  line.add(R"(,"kv":{{"blocks":{},"block_tokens":{},"block_bytes":{},"tiers":["memory"{}]}})",
           blocks, kBlockTokens, blocks > 0 ? model.kv_bytes / static_cast<uint64_t>(blocks) : 0,
           identity.disk ? R"(,"disk")" : "");
  if (identity.text > 0) line.add(R"(,"text":{})", identity.text);
  line.add(R"(,"target":{{"itl_ms":{}}},"hz":{},"power":)", identity.itl_ms, hz);
  return line.text(identity.power).add("}}").take();
}

std::string frame_json(const Frame& f, const MonitorIdentity& identity, int64_t epoch_us) {
  const Rates& r = f.rates;
  const EngineStats& s = f.stats;
  Line line;
  line.add(R"({{"seq":{},"t_ms":)", f.seq).time(f.at_us, epoch_us);
  line.add(R"(,"tok":{{"dec":{:.6g},"pre":{:.6g},"rec":{:.6g},"spec":{:.6g}}})", r.dec, r.pre,
           r.rec, r.spec);
  line.add(R"(,"roof":{{"gbs":{:.5g},"gmacs":{:.5g},"busy":{:.4g},"bound":"{}"}})", r.gbs, r.gmacs,
           r.busy, bound_of(r, identity));
  line.add(R"(,"q":{{"run":{},"wait":{},"preempted":{}}})", s.running, s.waiting, s.preemptions);
  line.add(R"(,"lat":{{"ttft":[)").number(f.ttft[0]).add(",").number(f.ttft[1]);
  line.add(R"(],"itl":[)").number(f.itl[0]).add(",").number(f.itl[1]).add("]}}");
  const auto blocks = [&](BlockState state) { return f.blocks[static_cast<size_t>(state)]; };
  line.add(R"(,"kv":{{"free":{},"live":{},"shared":{},"cached":{},"pinned":{},"disk":{}}})",
           blocks(BlockState::kFree), blocks(BlockState::kLive) + blocks(BlockState::kInFlight),
           blocks(BlockState::kShared),
           blocks(BlockState::kCached) + blocks(BlockState::kCachedOnDisk),
           blocks(BlockState::kPinned), s.disk_blocks);
  line.add(
      R"(,"total":{{"steps":{},"dec":{},"prompt":{},"cached":{},"us":{},"pred_us":{},"bytes":{}}})",
      s.steps, s.completion_tokens, s.prompt_tokens, s.cached_tokens, s.step_us,
      s.predicted_step_us, s.weight_bytes + s.kv_bytes);
  if (f.watts) line.add(R"(,"power_w":{:.4g})", *f.watts);
  return line.take();
}

std::string frame_end(uint64_t lost) { return fmt::format(R"(,"lost":{}}})", lost); }

std::string steps_json(std::span<const StepRecord> steps, int64_t epoch_us) {
  Line line;
  line.add(R"({{"first":{},)", steps.front().number);
  int64_t begin = epoch_us;
  int64_t bytes = 0;
  int64_t macs = 0;
  const auto difference = [&](int64_t& before, int64_t value) {
    line.add("{}", value - std::exchange(before, value));
  };
  using Step = StepRecord;
  line.list("t", steps, [&](const Step& s) { difference(begin, s.begin_us); }).add(",");
  line.list("us", steps, [&](const Step& s) { line.add("{}", s.end_us - s.begin_us); }).add(",");
  line.list("pred", steps, [&](const Step& s) { line.add("{}", s.predicted_us); }).add(",");
  line.list("bytes", steps, [&](const Step& s) {
    difference(bytes, static_cast<int64_t>(s.weight_bytes + s.kv_bytes));
  });
  line.add(",").list("macs", steps,
                     [&](const Step& s) { difference(macs, static_cast<int64_t>(s.macs)); });
  line.add(",").list("run", steps, [&](const Step& s) { line.add("{}", s.running); }).add(",");
  line.list("wait", steps, [&](const Step& s) { line.add("{}", s.waiting); }).add(",");
  line.list("evict", steps, [&](const Step& s) { line.add("{}", s.preempted); }).add(",");
  line.list("n", steps, [&](const Step& s) { line.add("{}", s.spans.size()); });
  line.add(R"(,"rows":[)");
  int64_t id = 0;
  bool first = true;
  for (const Step& step : steps) {
    for (const StepSpan& span : step.spans) {
      if (!std::exchange(first, false)) line.add(",");
      difference(id, static_cast<int64_t>(span.request));
      line.add(",{},{}", static_cast<int>(span.kind), span.rows);
    }
  }
  return line.add("]}}").take();
}

// ---- KV blocks

std::array<int64_t, kBlockStates> count_states(const Survey& survey) {
  std::array<int64_t, kBlockStates> counts{};
  for (const BlockState state : survey.blocks) ++counts[static_cast<size_t>(state)];
  return counts;
}

std::string kvmap_json(const Survey& survey, int64_t epoch_us) {
  // By how much a state outweighs others in a cell: in flight, pinned, shared, live, cached, free.
  constexpr std::array<int, kBlockStates> kWeight = {0, 3, 4, 1, 5, 6, 2};
  const size_t size = survey.blocks.size();
  const size_t bin = std::max<size_t>(1, (size + kMostCells - 1) / kMostCells);
  Line line;
  line.add(R"({{"t_ms":)").time(survey.at_us, epoch_us);
  line.add(R"(,"blocks":{},"bin":{},"runs":[)", size, bin);
  int state = -1;
  size_t length = 0;
  bool first = true;
  const auto flush = [&] {
    if (length > 0) line.add("{}{},{}", std::exchange(first, false) ? "" : ",", state, length);
    length = 0;
  };
  for (size_t i = 0; i < size; i += bin) {
    int worst = static_cast<int>(survey.blocks[i]);
    for (size_t k = i + 1; k < std::min(size, i + bin); ++k) {
      const int other = static_cast<int>(survey.blocks[k]);
      if (kWeight[static_cast<size_t>(other)] > kWeight[static_cast<size_t>(worst)]) worst = other;
    }
    if (worst != state) flush();
    state = worst;
    ++length;
  }
  flush();
  line.add("],");
  line.list("counts", count_states(survey), [&](int64_t count) { line.add("{}", count); });
  return line.add("}}").take();
}

namespace {

// An owner sees its requests counted by its own, and one key: the other numbers tell how many
// requests and keys there are besides.
void add_life(Line& line, const Life& l, Audience audience, int64_t epoch_us) {
  const bool own = audience == Audience::kOwner;
  line.add(R"([{},{},"{}",{},{},{},{},)", own ? l.number : l.id, own ? 0 : l.key,
           to_string(l.stage), l.prompt, l.cached, l.done, l.generated);
  line.ms(l.first_us < 0 || l.queued_us < 0 ? -1 : l.first_us - l.queued_us).add(",");
  line.number(l.gaps.quantile(0.99)).add(",null,{},[", l.evictions);
  line.time(l.queued_us, epoch_us).add(",").time(l.began_us, epoch_us).add(",");
  line.time(l.first_us, epoch_us).add(",").time(l.last_us, epoch_us).add(",");
  line.time(l.ended_us, epoch_us).add("]]");
}

}  // namespace

std::string reqs_json(std::span<const Life* const> lives, int64_t epoch_us) {
  Line line;
  line.add("{{").list("rows", lives,
                      [&](const Life* l) { add_life(line, *l, Audience::kAdmin, epoch_us); });
  return line.add("}}").take();
}

std::string texts_json(std::span<const Life* const> lives, uint64_t serial) {
  std::vector<const Life*> changed;
  for (const Life* l : lives) {
    if (l->text_changed > serial) changed.push_back(l);
  }
  if (changed.empty()) return {};
  Line line;
  line.add("{{").list("rows", changed, [&](const Life* l) {
    line.add("[{},", l->id).text(l->prompt_text).add(",").text(l->answer_text).add("]");
  });
  return line.add("}}").take();
}

std::string own_json(std::span<const Life* const> lives, const std::string& label, int64_t now_us,
                     int64_t epoch_us) {
  Line line;
  line.add(R"({{"t_ms":)").time(now_us, epoch_us).add(R"(,"label":)").text(label).add(",");
  line.list("rows", lives, [&](const Life* l) { add_life(line, *l, Audience::kOwner, epoch_us); });
  return line.add("}}").take();
}

std::string keys_json(std::span<const KeyStats> keys, const Survey& survey) {
  const auto account = [&](const std::string& label) -> const TenantState* {
    for (const TenantState& tenant : survey.tenants) {
      if (tenant.name == label) return &tenant;
    }
    return nullptr;
  };
  double most = 0;
  for (const TenantState& tenant : survey.tenants) most = std::max(most, tenant.served);
  Line line;
  int index = 0;
  line.add("{{").list("rows", keys, [&](const KeyStats& key) {
    const TenantState* tenant = account(key.label);
    line.add(R"({{"key":{},"label":)", index++).text(key.label);
    line.add(R"(,"run":{},"wait":{},"share":{:.4g},"served":{:.0f},"deficit":{:.0f},"wait50":)",
             key.running, key.waiting, key.share, tenant == nullptr ? 0 : tenant->served,
             tenant == nullptr ? 0 : most - tenant->served);
    line.number(key.wait50).add(R"(,"wait99":)").number(key.wait99).add("}}");
  });
  return line.add("}}").take();
}

// ---- Replies of the other routes

std::string history_json(std::span<const HistoryPoint> points, bool tens, int64_t epoch_us) {
  Line line;
  line.add(R"({{"step_s":{},"t_ms":)", tens ? 10 : 1);
  line.time(points.empty() ? epoch_us : points.front().end_us, epoch_us);
  line.add(R"(,"n":{})", points.size());
  const auto table = [&](const char* name, Series HistoryPoint::*values) {
    line.add(R"(,"{}":{{)", name);
    for (size_t i = 0; i < kSeriesNames.size(); ++i) {
      if (i > 0) line.add(",");
      line.list(kSeriesNames[i], points,
                [&](const HistoryPoint& p) { line.number((p.*values)[i]); });
    }
    line.add("}}");
  };
  table("mean", &HistoryPoint::mean);
  if (tens) table("min", &HistoryPoint::min);
  if (tens) table("max", &HistoryPoint::max);
  line.add(R"(,"lat":{{)");
  for (size_t i = 0; i < kLatencyNames.size(); ++i) {
    if (i > 0) line.add(",");
    line.list(kLatencyNames[i], points, [&](const HistoryPoint& p) { line.number(p.latency[i]); });
  }
  line.add("}},").list("evict", points,
                       [&](const HistoryPoint& p) { line.add("{}", p.evictions); });
  return line.add("}}").take();
}

// The most useful nodes, and all that lead to them: by tokens that they saved, then by size.
std::string prefixes_json(const Survey& survey, const Lives& lives, uint64_t block_bytes,
                          int64_t epoch_us) {
  const std::vector<PrefixNode>& nodes = survey.prefixes;
  std::vector<size_t> order(nodes.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  const auto value = [&](size_t i) {
    return std::pair(int64_t{nodes[i].hits} * nodes[i].tokens, nodes[i].tokens);
  };
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return value(a) > value(b); });
  std::vector<bool> kept(nodes.size(), false);
  size_t count = 0;
  for (const size_t leaf : order) {
    if (count >= kMostNodes) break;
    for (auto i = static_cast<int32_t>(leaf); i >= 0 && !kept[static_cast<size_t>(i)];
         i = nodes[static_cast<size_t>(i)].parent) {
      kept[static_cast<size_t>(i)] = true;
      ++count;
    }
  }
  int64_t blocks = 0;
  for (const PrefixNode& node : nodes) blocks += node.tokens / kBlockTokens;
  Line line;
  line.add(R"({{"t_ms":)").time(survey.at_us, epoch_us);
  line.add(R"(,"block_tokens":{},"block_bytes":{},"blocks":{},"left_out":{},"nodes":[)",
           kBlockTokens, block_bytes, blocks, nodes.size() - count);
  bool first = true;
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (!kept[i]) continue;
    const PrefixNode& n = nodes[i];
    if (!std::exchange(first, false)) line.add(",");
    line.add(R"({{"id":{},"parent":{},"hash":"{:016x}","key":{},"tokens":{},"depth":{},)", i,
             n.parent, n.hash, lives.key_of_domain(n.domain), n.tokens, n.depth);
    line.add(R"("bytes":{},"hits":{},"used_ms":)",
             static_cast<uint64_t>(n.tokens / kBlockTokens) * block_bytes, n.hits);
    line.time(n.used_us, epoch_us).add(R"(,"held":{}}})", n.held_blocks);
  }
  return line.add("]}}").take();
}

std::string request_json(const Life& l, const RequestView& view, int64_t epoch_us) {
  constexpr const char* kCauses[] = {"step", "paused", "preempted"};
  std::vector<Gap> gaps = l.longest;
  std::sort(gaps.begin(), gaps.end(),
            [](const Gap& a, const Gap& b) { return a.end_us < b.end_us; });
  Line line;
  const auto of_others = [&](auto number) {
    return view.audience == Audience::kAdmin ? fmt::to_string(number) : "null";
  };
  line.add(R"({{"row":)");
  add_life(line, l, view.audience, epoch_us);
  line.add(R"(,"label":)").text(view.label).add(",");
  line.list("spans", l.spans, [&](const WorkSpan& s) {
    line.add("[").time(s.begin_us, epoch_us).add(",").ms(s.end_us - s.begin_us);
    line.add(",{},{},{}]", static_cast<int>(s.kind), s.rows, of_others(s.step));
  });
  line.add(",").list("gaps", gaps, [&](const Gap& g) {
    line.add("[").time(g.end_us, epoch_us).add(",").ms(g.length_us);
    line.add(R"(,"{}",{}])", kCauses[static_cast<size_t>(g.cause)], of_others(g.others_rows));
  });
  line.add(R"(,"late_ms":{},"late":{})", view.late_ms, l.late);
  line.add(R"(,"wait":{{"ahead":{},"evictions":{}}},"complete":{})", of_others(l.ahead),
           l.evictions, !l.spans_cut);
  if (view.text) {
    line.add(R"(,"text":[)").text(l.prompt_text).add(",").text(l.answer_text).add("]");
  }
  return line.add("}}").take();
}

}  // namespace serval
