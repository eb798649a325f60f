#include "apps/monitor_state.h"

#include <boost/json.hpp>

namespace serval {
namespace {

namespace json = boost::json;

constexpr size_t kRequests = 1024;  // shown at most; the oldest go first

double number(const json::value& value) { return value.is_null() ? -1 : value.to_number<double>(); }
double number(const json::object& object, std::string_view name) { return number(object.at(name)); }
int whole(const json::object& object, std::string_view name) {
  return object.at(name).to_number<int>();
}
std::string text(const json::object& object, std::string_view name) {
  return std::string(object.at(name).as_string());
}

void read_hello(MonitorState& s, const json::object& o) {
  const std::string instance = text(o.at("server").as_object(), "instance");
  if (s.instance != instance) s = MonitorState();
  s.greeted = true;
  s.from_metrics = o.contains("origin");
  s.instance = instance;
  s.version = text(o.at("server").as_object(), "version");
  s.up_ms = number(o.at("server").as_object(), "up_ms");
  s.hello_ms = number(o, "t_ms");
  const json::object& machine = o.at("machine").as_object();
  s.isa = text(machine, "isa");
  s.limit_gbs = number(machine, "limit_gbs");
  s.limit_gmacs = number(machine, "limit_gmacs");
  s.model = text(o.at("model").as_object(), "id");
  s.blocks = whole(o.at("kv").as_object(), "blocks");
  s.block_tokens = whole(o.at("kv").as_object(), "block_tokens");
  s.target_ms = number(o.at("target").as_object(), "itl_ms");
}

void read_frame(MonitorState& s, const json::object& o) {
  s.seq = o.at("seq").to_number<uint64_t>();
  s.t_ms = number(o, "t_ms");
  s.lost = o.at("lost").to_number<uint64_t>();
  const json::object& tokens = o.at("tok").as_object();
  s.dec = number(tokens, "dec");
  s.pre = number(tokens, "pre");
  s.rec = number(tokens, "rec");
  const json::object& roof = o.at("roof").as_object();
  s.gbs = number(roof, "gbs");
  s.gmacs = number(roof, "gmacs");
  s.busy = number(roof, "busy");
  s.bound = text(roof, "bound");
  const json::object& queue = o.at("q").as_object();
  s.running = whole(queue, "run");
  s.waiting = whole(queue, "wait");
  s.preempted = queue.at("preempted").to_number<int64_t>();
  const json::object& latencies = o.at("lat").as_object();
  for (size_t i = 0; i < 2; ++i) {
    s.ttft[i] = number(latencies.at("ttft").as_array().at(i));
    s.itl[i] = number(latencies.at("itl").as_array().at(i));
  }
  const json::object& kv = o.at("kv").as_object();
  const auto blocks = [&](std::string_view name) { return kv.at(name).to_number<int64_t>(); };
  s.kv = {blocks("free"),   blocks("live"),   blocks("shared"),
          blocks("cached"), blocks("pinned"), blocks("disk")};
  const json::value* watts = o.if_contains("power_w");
  s.power_w = watts == nullptr ? -1 : number(*watts);
}

void read_steps(MonitorState& s, const json::object& o) {
  const json::array& us = o.at("us").as_array();
  const json::array& pred = o.at("pred").as_array();
  const json::array& bytes = o.at("bytes").as_array();
  const json::array& n = o.at("n").as_array();
  const json::array& rows = o.at("rows").as_array();
  const json::array& run = o.at("run").as_array();
  const json::array& wait = o.at("wait").as_array();
  const auto first = o.at("first").to_number<uint64_t>();
  size_t at = 0;
  double read = 0;
  for (size_t i = 0; i < us.size(); ++i) {
    ShownStep step;
    step.number = first + i;
    step.us = number(us.at(i));
    step.predicted_us = number(pred.at(i));
    step.bytes = read += bytes.at(i).to_number<double>();
    step.running = run.at(i).to_number<int>();
    step.waiting = wait.at(i).to_number<int>();
    for (int spans = n.at(i).to_number<int>(); spans > 0; --spans, at += 3) {
      const int count = rows.at(at + 2).to_number<int>();
      switch (rows.at(at + 1).to_number<int>()) {
        case 0:
          step.prefill += count;
          break;
        case 2:
          step.recomputed += count;
          break;
        default:
          step.decode += count;
      }
    }
    s.steps.push_back(step);
  }
  while (s.steps.size() > MonitorState::kSteps) s.steps.pop_front();
}

void read_requests(MonitorState& s, const json::object& o) {
  for (const json::value& value : o.at("rows").as_array()) {
    const json::array& row = value.as_array();
    const auto count = [&](size_t i) { return row.at(i).to_number<int>(); };
    ShownRequest r;
    r.id = row.at(0).to_number<uint64_t>();
    r.key = count(1);
    r.state = std::string(row.at(2).as_string());
    r.prompt = count(3);
    r.cached = count(4);
    r.done = count(5);
    r.generated = count(6);
    r.ttft = number(row.at(7));
    r.gap99 = number(row.at(8));
    r.evictions = count(10);
    const json::array& t = row.at(11).as_array();
    r.queued = number(t.at(0));
    r.began = number(t.at(1));
    r.first = number(t.at(2));
    r.last = number(t.at(3));
    r.ended = number(t.at(4));
    s.requests[r.id] = r;
  }
  while (s.requests.size() > kRequests) s.requests.erase(s.requests.begin());
}

// All rows, each time: what is not among them is forgotten.
void read_own(MonitorState& s, const json::object& o) {
  MonitorState next;
  read_requests(next, o);
  next.greeted = next.own = true;
  next.t_ms = number(o, "t_ms");
  next.keys.push_back({text(o, "label")});
  for (const auto& [id, request] : next.requests) {
    if (request.ended >= 0) continue;
    ++(request.began >= 0 ? next.running : next.waiting);
  }
  s = std::move(next);
}

void read_keys(MonitorState& s, const json::object& o) {
  s.keys.clear();
  for (const json::value& value : o.at("rows").as_array()) {
    const json::object& row = value.as_object();
    s.keys.push_back({text(row, "label"), whole(row, "run"), whole(row, "wait"),
                      number(row, "share"), number(row, "deficit"), number(row, "wait50"),
                      number(row, "wait99")});
  }
}

void read_map(MonitorState& s, const json::object& o) {
  const json::array& runs = o.at("runs").as_array();
  s.cells.clear();
  s.cell_blocks = whole(o, "bin");
  for (size_t i = 0; i + 1 < runs.size(); i += 2) {
    s.cells.emplace_back(runs.at(i).to_number<int>(), runs.at(i + 1).to_number<int>());
  }
}

}  // namespace

bool MonitorState::apply(std::string_view event, std::string_view data) {
  try {
    const json::value value = json::parse(json::string_view(data.data(), data.size()));
    const json::object& object = value.as_object();
    if (event == "hello") {
      read_hello(*this, object);
    } else if (event == "frame") {
      read_frame(*this, object);
      // One point a second: a graph that stands still between them costs no bytes.
      if (t_ms < next_second_ms_) return true;
      next_second_ms_ = t_ms < next_second_ms_ + 1000 ? next_second_ms_ + 1000 : t_ms + 1000;
      decoded.push_back(dec);
      prefilled.push_back(pre);
      if (decoded.size() > kSeconds) decoded.pop_front();
      if (prefilled.size() > kSeconds) prefilled.pop_front();
    } else if (event == "steps") {
      read_steps(*this, object);
    } else if (event == "reqs") {
      read_requests(*this, object);
    } else if (event == "own") {
      read_own(*this, object);
    } else if (event == "keys") {
      read_keys(*this, object);
    } else if (event == "kvmap") {
      read_map(*this, object);
    } else {
      return false;
    }
    return true;
  } catch (const std::exception&) {  // not of this version
    return false;
  }
}

}  // namespace serval
