// Lives: what is known of every request that is alive, of the last ones that ended, and of the keys
// they came with. Fed with the engine's events and steps; bounded memory. A plain object without
// threads or clock; owned by the Monitor.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "serval/engine.h"
#include "server/monitor/quantiles.h"

namespace serval {

// Where a request stands; the names are in monitor.schema.json.
enum class Stage : uint8_t {
  kWaiting,
  kLoading,
  kPrefill,
  kDecode,
  kPaused,
  kPreempted,
  kStop,
  kLength,
  kContextFull,
  kCancelled,
  kFailed,
};
const char* to_string(Stage stage);
inline bool ended(Stage stage) { return stage >= Stage::kStop; }

enum class GapCause : uint8_t { kStep, kPaused, kPreempted };

// Rows of a request in one step, or in consecutive ones that only decoded.
struct WorkSpan {
  int64_t begin_us = 0, end_us = 0;
  SpanKind kind = SpanKind::kPrefill;
  int32_t rows = 0;
  uint64_t step = 0;
};
struct Gap {
  int64_t end_us = 0, length_us = 0;
  GapCause cause = GapCause::kStep;
  int64_t others_rows = 0;  // of prompts, in the steps of the gap
};

struct Life {
  static constexpr size_t kMostSpans = 512;
  static constexpr size_t kMostGaps = 32;

  RequestId id = 0;
  int key = -1;
  uint64_t number = 0;  // among the requests of its key, from 1
  Stage stage = Stage::kWaiting;
  int prompt = 0, cached = 0, done = 0, generated = 0, evictions = 0;
  int64_t queued_us = -1, began_us = -1, first_us = -1, last_us = -1, ended_us = -1;
  int ahead = 0;  // requests that began between its arrival and its own begin
  SmallTimeCounts gaps;
  int late = 0;  // gaps longer than the target
  std::vector<WorkSpan> spans;
  bool spans_cut = false;    // earlier ones were dropped
  std::vector<Gap> longest;  // unordered
  uint64_t changed = 0;      // serial of the last change

  // Beginnings, where the operator wants them shown; else empty.
  std::string prompt_text, answer_text;
  uint64_t text_changed = 0;  // serial

  int64_t seen_us = 0;  // of the last event or step
  // Since its last token.
  int64_t prompt_rows_before = 0;  // of everybody, until then
  bool was_paused = false, was_preempted = false;
  int64_t begun_before = 0;  // requests that had begun when it arrived
};

struct KeyStats {
  std::string label;
  int running = 0, waiting = 0;
  double share = 0;                      // of the rows of the last minute
  std::optional<double> wait50, wait99;  // ms, of the last 256
};

// Belongs before the step, in the order in which both are given to Lives. Requests end after the
// step that was their last, often within its last microsecond.
inline bool precedes(const LifeEvent& event, const StepRecord& step) {
  return event.kind == LifeKind::kEnded ? event.at_us < step.end_us : event.at_us <= step.end_us;
}

class Lives {
 public:
  static constexpr size_t kEnded = 256;
  static constexpr size_t kAlive = 32'768;
  static constexpr size_t kKeys = 4'096;  // requests of further ones belong to none

  explicit Lives(int64_t late_us) : late_us_(late_us) {}

  // In the order of time: an event, or a step at its end.
  void add(const LifeEvent& event);
  // Returns how many tokens it generated, without first ones.
  int add(const StepRecord& step);
  void add(const Survey& survey);

  // The beginning of its prompt, of a request that was just submitted: its events may come later.
  void note_prompt(RequestId id, std::string text);
  // More of its answer, of which `most` characters are kept. False: no more is wanted.
  bool note_answer(RequestId id, std::string_view text, size_t most);

  const Life* find(RequestId id) const;
  // Those that changed after `serial`, in order of id.
  std::vector<const Life*> changed_after(uint64_t serial) const;
  uint64_t serial() const { return serial_; }

  // Those of one owner, in order of id, by the name of its key; never anybody else's.
  std::vector<const Life*> of(const std::string& label) const;
  const Life* find(const std::string& label, uint64_t number) const;

  std::vector<KeyStats> keys(int64_t now_us);
  const std::string& label(int key) const;
  int key_of_domain(uint64_t domain) const;  // -1: not known

  // Of the last minute: [p50, p99], ms.
  using Pair = std::array<std::optional<double>, 2>;
  Pair ttft(int64_t now_us) { return pair(ttft_, now_us); }
  Pair itl(int64_t now_us) { return pair(itl_, now_us); }
  // Of what was added since the last call.
  struct Latencies {
    LargeTimeCounts ttft, itl;
  };
  Latencies take_recent();

 private:
  struct Key {
    std::string label;
    LastMinute<int64_t> rows;
    uint64_t requests = 0;     // so far
    std::vector<float> waits;  // ms, a ring
    size_t next_wait = 0;
  };

  Life* life(RequestId id, bool create);
  void forget(RequestId id);
  int key_index(const char* label);
  void touch(Life& life) { life.changed = ++serial_; }
  void begin(Life& life, const LifeEvent& event);
  void end(Life& life, Stage stage, int64_t at_us);
  bool add_span(Life& life, const StepRecord& step, const StepSpan& span);
  void token(Life& life, int64_t at_us);
  static Pair pair(LastMinute<LargeTimeCounts>& window, int64_t now_us);

  const int64_t late_us_;
  std::map<RequestId, Life> lives_;
  std::deque<RequestId> ended_;
  std::vector<Key> keys_;
  std::map<std::string, int> key_index_;
  std::unordered_map<uint64_t, int> domains_;
  LastMinute<int64_t> rows_;
  LastMinute<LargeTimeCounts> ttft_, itl_;
  Latencies recent_;
  uint64_t serial_ = 0;
  RequestId forgotten_ = 0;  // the newest of those
  int64_t prompt_rows_ = 0;  // of all steps
  int64_t begun_ = 0;        // requests
};

}  // namespace serval
