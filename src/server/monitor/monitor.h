// Monitor: watches one engine and shows it to at most eight streams at once and to whoever asks for
// one look. One thread of low priority reads the engine's rings once a second for the history, and
// as often as a viewer wants while there is one; nothing is encoded while nobody looks. The engine
// never waits for it: at most once a second, and only while somebody looks, it fills a survey
// between two steps.
//
// Owned by the Service. Every method may be called from any thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "serval/engine.h"
#include "server/http/exchange.h"
#include "server/monitor/encode.h"
#include "server/monitor/findings.h"
#include "server/monitor/history.h"
#include "server/monitor/lives.h"
#include "server/monitor/perfetto.h"
#include "server/monitor/power.h"
#include "server/monitor/rates.h"
#include "server/monitor/recent_log.h"

namespace serval {

class Monitor {
 public:
  static constexpr size_t kViewers = 8;
  static constexpr int kMaxHz = 10;

  // `engine` must outlive stop().
  Monitor(Engine& engine, MonitorIdentity identity);
  ~Monitor();
  Monitor(const Monitor&) = delete;
  Monitor& operator=(const Monitor&) = delete;

  struct Wanted {
    int hz = 0;                     // frames a second
    std::optional<uint64_t> since;  // the steps after this one
    bool text = false;              // beginnings of texts too, where they are shown at all
  };
  // Streams to the exchange from now on. False when eight look already.
  bool watch(const ExchangePtr& exchange, const Wanted& wanted);

  // Whether beginnings of prompts and answers are shown; only then may they be given to it.
  bool shows_text() const { return identity_.text > 0; }
  void note_prompt(RequestId id, const Prompt& prompt);
  // False: no more is wanted of this answer.
  bool note_answer(RequestId id, std::string_view text);

  // JSON replies; see encode.h.
  std::string snapshot();
  std::string history(int64_t span_s);
  std::string prefixes();
  std::optional<std::string> request(RequestId id);
  // Of the owner's requests alone; `label` is the name of its key.
  std::string own(const std::string& label);
  std::optional<std::string> own_request(const std::string& label, uint64_t number);
  std::string plan() const;
  std::string tiers();
  std::string doctor(const std::vector<Finding>& at_start, const std::vector<Finding>& now) const;
  const std::string& power() const { return identity_.power; }
  RecentLog& log() { return log_; }

  // Of all requests that are known, for traces.
  std::vector<RequestTimes> request_times();
  // Ends all streams and the thread.
  void stop();

 private:
  struct Viewer;
  struct Surveying;
  using ViewerPtr = std::shared_ptr<Viewer>;

  void loop();
  void collect();
  void add_second(int64_t end_us, int64_t now_us);
  void note_changes(const EngineStats& now);
  void update_survey(int64_t now_us);
  void take_survey(const Survey& survey);
  std::shared_ptr<const Survey> survey_now(bool prefixes);
  Frame frame(int64_t now_us);
  std::vector<StepRecord> steps_after(uint64_t number, size_t most) const;
  std::string opening(Viewer& viewer, int64_t now_us);
  std::string next_events(Viewer& viewer, int64_t now_us, const std::string& frame);
  std::string slow_events(Viewer& viewer, int64_t now_us);
  std::string sse(std::string_view name, std::string_view data) const;
  void show(int64_t now_us);

  Engine& engine_;
  PowerMeter power_;  // the thread's, after the constructor
  const MonitorIdentity identity_;
  const int64_t epoch_us_;
  RecentLog log_;

  std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  bool stopping_ = false;
  std::vector<ViewerPtr> viewers_;
  uint64_t last_step_ = 0, last_event_ = 0;  // of what was collected
  std::deque<StepRecord> steps_;             // the latest ones
  Lives lives_;
  LastSecond second_;
  History history_;
  std::optional<double> watts_;
  EngineStats before_;  // at the last second of the history
  int64_t next_second_us_ = 0;
  Survey survey_;
  uint64_t survey_serial_ = 0;  // counts changes of its blocks
  int64_t survey_asked_us_ = 0;
  std::shared_ptr<Surveying> pending_;
  std::thread thread_;  // last: starts when everything else stands
};

}  // namespace serval
