// Everything runs under one mutex: the thread's rounds take some ten microseconds, and the routes
// that ask for one look are rare.
//
// A viewer that is behind gets nothing until its connection caught up; then the newest frame, with
// the number of those it missed. Steps that it did not see are given to it again up to kCatchUp.
#include "server/monitor/monitor.h"

#include <fmt/format.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <limits>

#include "backend/forward_batch.h"
#include "base/monotonic.h"
#include "server/monitor/excerpt.h"
#include "server/monitor/tabs.h"

namespace serval {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr int64_t kSecondUs = 1'000'000;
constexpr size_t kCatchUp = 1024;  // steps kept for viewers
constexpr size_t kOpening = 256;   // of these, for one who did not say what it knows
constexpr auto kSurveyPatience = std::chrono::milliseconds(1000);
constexpr int kNiceness = 10;
constexpr int64_t kLateUs = 50'000;  // until then, steps of a second that has passed may come in

// Of a conversation what was said last: how it began is the same each time.
std::string_view telling_part(const ChatPrompt& chat) {
  for (auto message = chat.messages.rbegin(); message != chat.messages.rend(); ++message) {
    if (message->role == "user") return message->content;
  }
  return chat.messages.empty() ? std::string_view() : chat.messages.back().content;
}

// The first multiple of 1/hz seconds after `us`: viewers of one hz are served together.
int64_t next_due(int64_t us, int hz) { return (us * hz / kSecondUs + 1) * kSecondUs / hz; }

}  // namespace

struct Monitor::Viewer {
  ExchangePtr exchange;
  int hz = 0;
  int64_t due_us = 0, slow_due_us = 0;
  uint64_t step = 0;    // the newest one it was sent
  uint64_t lives = 0;   // serial of the requests it was sent
  uint64_t texts = 0;   // of the beginnings of texts
  uint64_t survey = 0;  // of the blocks
  bool text = false;    // it wants them
  uint64_t lost = 0;
  int rounds = 0;
  std::atomic<bool> behind{false}, gone{false};  // written on the connection's strand
};

struct Monitor::Surveying {
  Survey survey;
  std::atomic<bool> ready{false};
};

Monitor::Monitor(Engine& engine, MonitorIdentity identity)
    : engine_(engine),
      identity_([&] {
        identity.power = power_.status();
        return std::move(identity);
      }()),
      epoch_us_(monotonic_us()),
      log_(epoch_us_),
      lives_(static_cast<int64_t>(identity_.itl_ms * 1000)),
      next_second_us_(next_due(epoch_us_, 1)),
      thread_([this] { loop(); }) {}

Monitor::~Monitor() { stop(); }

void Monitor::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    for (const ViewerPtr& viewer : viewers_) {
      viewer->exchange->post([exchange = viewer->exchange] { exchange->end_stream(); });
    }
    viewers_.clear();
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

// ---- The thread

void Monitor::loop() {
  ::pthread_setname_np(::pthread_self(), "monitor");
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kNiceness);
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    int64_t until = next_second_us_ + kLateUs;
    for (const ViewerPtr& viewer : viewers_) until = std::min(until, viewer->due_us);
    wake_.wait_until(lock, SteadyClock::time_point(std::chrono::microseconds(until)));
    if (stopping_) return;
    std::erase_if(viewers_, [](const ViewerPtr& viewer) { return viewer->gone.load(); });
    const int64_t now = monotonic_us();
    if (now < next_second_us_ + kLateUs &&
        std::none_of(viewers_.begin(), viewers_.end(),
                     [&](const ViewerPtr& viewer) { return viewer->due_us <= now; })) {
      continue;
    }
    collect();
    for (; next_second_us_ + kLateUs <= now; next_second_us_ += kSecondUs) {
      add_second(next_second_us_, now);
    }
    if (viewers_.empty()) continue;
    update_survey(now);
    show(now);
  }
}

// Steps first: then no event that precedes one of them is missing.
void Monitor::collect() {
  std::vector<StepRecord> steps = engine_.steps_after(last_step_, SIZE_MAX);
  const std::vector<LifeEvent> events = engine_.lives_after(last_event_, SIZE_MAX);
  auto event = events.begin();
  for (StepRecord& step : steps) {
    for (; event != events.end() && precedes(*event, step); ++event) lives_.add(*event);
    int tokens = lives_.add(step);
    for (const StepSpan& span : step.spans) {
      const Life* life = lives_.find(span.request);
      const bool first = life != nullptr && life->first_us >= step.begin_us;
      tokens += first && life->first_us <= step.end_us ? 1 : 0;
    }
    second_.add(step, tokens);
    last_step_ = step.number;
    steps_.push_back(std::move(step));
    if (steps_.size() > kCatchUp) steps_.pop_front();
  }
  for (; event != events.end(); ++event) lives_.add(*event);
  if (!events.empty()) last_event_ = events.back().number;
}

void Monitor::add_second(int64_t end_us, int64_t now) {
  watts_ = power_.watts(now);
  const Rates rates = second_.at(end_us);
  const EngineStats stats = engine_.stats();
  const auto value = [](double number) { return static_cast<float>(number); };
  const float unknown = std::numeric_limits<float>::quiet_NaN();
  const double total = static_cast<double>(std::max<int64_t>(stats.kv_tokens_total, 1));
  const Series series = {value(rates.dec),
                         value(rates.pre),
                         value(rates.busy),
                         rates.busy > 0 ? value(rates.gbs) : unknown,
                         rates.busy > 0 ? value(rates.gmacs) : unknown,
                         value(stats.running),
                         value(stats.waiting),
                         value(static_cast<double>(stats.kv_tokens_used) / total),
                         watts_ ? value(*watts_) : unknown};
  const auto [ttft, itl] = lives_.take_recent();
  history_.add(end_us, series, ttft, itl,
               static_cast<uint32_t>(stats.preemptions - before_.preemptions));
  note_changes(stats);
  before_ = stats;
}

// What no request tells of itself.
void Monitor::note_changes(const EngineStats& now) {
  const auto count = [&](LogLevel level, std::string_view event, uint64_t before, uint64_t after) {
    if (after > before) log_.add(level, event, {{"count", after - before}});
  };
  count(LogLevel::kWarn, "preempted", before_.preemptions, now.preemptions);
  count(LogLevel::kWarn, "disk_blocks_damaged", before_.disk_blocks_damaged,
        now.disk_blocks_damaged);
  count(LogLevel::kError, "disk_write_errors", before_.disk_write_errors, now.disk_write_errors);
}

// ---- Surveys

void Monitor::update_survey(int64_t now) {
  if (pending_ != nullptr && pending_->ready.load(std::memory_order_acquire)) {
    take_survey(pending_->survey);
    pending_ = nullptr;
  }
  if (pending_ != nullptr || now - survey_asked_us_ < kSecondUs) return;
  survey_asked_us_ = now;
  pending_ = std::make_shared<Surveying>();
  const std::shared_ptr<Survey> into(pending_, &pending_->survey);
  engine_.survey(into, false,
                 [slot = pending_] { slot->ready.store(true, std::memory_order_release); });
}

void Monitor::take_survey(const Survey& survey) {
  if (survey.at_us < survey_.at_us) return;
  lives_.add(survey);
  if (survey.blocks != survey_.blocks) ++survey_serial_;
  survey_ = survey;
}

// Waits for the engine to end its step; not under the mutex. Null when that takes too long.
std::shared_ptr<const Survey> Monitor::survey_now(bool prefixes) {
  const auto survey = std::make_shared<Survey>();
  const auto done = std::make_shared<std::promise<void>>();
  std::future<void> filled = done->get_future();
  engine_.survey(survey, prefixes, [done] { done->set_value(); });
  if (filled.wait_for(kSurveyPatience) != std::future_status::ready) return nullptr;
  return survey;
}

// ---- What a viewer gets

bool Monitor::watch(const ExchangePtr& exchange, const Wanted& wanted) {
  const auto viewer = std::make_shared<Viewer>();
  viewer->exchange = exchange;
  viewer->hz = wanted.hz;
  viewer->text = wanted.text && shows_text();
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(viewers_, [](const ViewerPtr& other) { return other->gone.load(); });
    if (viewers_.size() >= kViewers) return false;
    if (stopping_) {
      exchange->post([exchange] { exchange->end_stream(); });
      return true;
    }
    const int64_t now = monotonic_us();
    collect();
    const uint64_t newest = last_step_;
    viewer->step = wanted.since ? std::min(*wanted.since, newest)
                                : newest - std::min<uint64_t>(newest, kOpening);
    viewer->due_us = next_due(now, wanted.hz);
    exchange->post([viewer, events = opening(*viewer, now)] {
      viewer->exchange->expect_stream();
      viewer->exchange->on_disconnect([viewer] { viewer->gone = true; });
      viewer->exchange->on_backlog([viewer](bool behind) { viewer->behind = behind; });
      viewer->exchange->send(events);
    });
    viewers_.push_back(viewer);
  }
  wake_.notify_one();
  return true;
}

void Monitor::show(int64_t now) {
  std::string newest;  // the frame, once for all
  for (const ViewerPtr& viewer : viewers_) {
    if (viewer->due_us > now) continue;
    viewer->due_us = next_due(now, viewer->hz);
    if (viewer->behind) {
      ++viewer->lost;
      continue;
    }
    if (newest.empty()) newest = frame_json(frame(now), identity_, epoch_us_);
    viewer->exchange->post(
        [exchange = viewer->exchange, events = next_events(*viewer, now, newest)]() mutable {
          exchange->send(std::move(events));
        });
  }
}

std::string Monitor::sse(std::string_view name, std::string_view data) const {
  return fmt::format("event: {}\nid: {}\ndata: {}\n\n", name, last_step_, data);
}

std::string Monitor::opening(Viewer& viewer, int64_t now) {
  const std::string hello =
      hello_json(identity_, engine_.info(), engine_.stats(), viewer.hz, now - epoch_us_);
  return sse("hello", hello) +
         next_events(viewer, now, frame_json(frame(now), identity_, epoch_us_));
}

std::string Monitor::next_events(Viewer& viewer, int64_t now, const std::string& frame) {
  std::string out;
  if (const auto steps = steps_after(viewer.step, kCatchUp); !steps.empty()) {
    out += sse("steps", steps_json(steps, epoch_us_));
    viewer.step = steps.back().number;
  }
  if (now >= viewer.slow_due_us) out += slow_events(viewer, now);
  return out + sse("frame", frame + frame_end(viewer.lost));
}

// What changes less often: requests twice a second at most, keys and blocks once.
std::string Monitor::slow_events(Viewer& viewer, int64_t now) {
  std::string out;
  const bool whole_second = viewer.rounds++ % 2 == 0 || viewer.hz == 1;
  viewer.slow_due_us = next_due(now, 2);
  if (whole_second) out += sse("keys", keys_json(lives_.keys(now), survey_));
  const auto lives = lives_.changed_after(viewer.lives);
  if (!lives.empty() || viewer.rounds == 1) out += sse("reqs", reqs_json(lives, epoch_us_));
  viewer.lives = lives_.serial();
  if (viewer.text) {
    const auto texts = texts_json(lives_.changed_after(0), viewer.texts);
    if (!texts.empty()) out += sse("texts", texts);
    viewer.texts = lives_.serial();
  }
  if (viewer.survey != survey_serial_ && !survey_.blocks.empty()) {
    out += sse("kvmap", kvmap_json(survey_, epoch_us_));
    viewer.survey = survey_serial_;
  }
  return out;
}

std::vector<StepRecord> Monitor::steps_after(uint64_t number, size_t most) const {
  auto first = std::upper_bound(steps_.begin(), steps_.end(), number,
                                [](uint64_t n, const StepRecord& s) { return n < s.number; });
  const auto count = static_cast<size_t>(steps_.end() - first);
  if (count > most) first += static_cast<std::ptrdiff_t>(count - most);
  // The numbers of one event rise by one: what lies before a jump was overwritten in time.
  const uint64_t last = steps_.empty() ? 0 : steps_.back().number;
  while (first != steps_.end() &&
         last - first->number != static_cast<uint64_t>(steps_.end() - first) - 1) {
    ++first;
  }
  return {first, steps_.end()};
}

Frame Monitor::frame(int64_t now) {
  Frame out;
  out.seq = last_step_;
  out.at_us = now;
  out.rates = second_.at(now);
  out.ttft = lives_.ttft(now);
  out.itl = lives_.itl(now);
  out.stats = engine_.stats();
  out.watts = watts_;
  if (!survey_.blocks.empty()) {
    out.blocks = count_states(survey_);
  } else {
    const int64_t block = out.stats.kv_tokens_total > 0 ? kBlockTokens : 1;
    const int64_t used = out.stats.kv_tokens_used / block;
    const int64_t cached = out.stats.kv_tokens_cached / block;
    out.blocks[static_cast<size_t>(BlockState::kLive)] = used;
    out.blocks[static_cast<size_t>(BlockState::kCached)] = cached;
    out.blocks[static_cast<size_t>(BlockState::kFree)] =
        out.stats.kv_tokens_total / block - used - cached;
  }
  return out;
}

// ---- One look

std::string Monitor::snapshot() {
  const auto survey = survey_now(false);
  const std::lock_guard lock(mutex_);
  const int64_t now = monotonic_us();
  collect();
  if (survey != nullptr) take_survey(*survey);
  const auto steps = steps_after(0, kOpening);
  constexpr std::string_view kNoSteps =
      R"({"first":1,"t":[],"us":[],"pred":[],"bytes":[],"macs":[],"run":[],"wait":[],)"
      R"("evict":[],"n":[],"rows":[]})";
  return fmt::format(R"({{"hello":{},"frame":{},"steps":{},"kvmap":{},"reqs":{},"keys":{}}})",
                     hello_json(identity_, engine_.info(), engine_.stats(), 0, now - epoch_us_),
                     frame_json(frame(now), identity_, epoch_us_) + frame_end(0),
                     steps.empty() ? std::string(kNoSteps) : steps_json(steps, epoch_us_),
                     kvmap_json(survey_, epoch_us_), reqs_json(lives_.changed_after(0), epoch_us_),
                     keys_json(lives_.keys(now), survey_));
}

std::string Monitor::history(int64_t span_s) {
  const bool tens = span_s > static_cast<int64_t>(History::kSeconds);
  const auto count = static_cast<size_t>(tens ? (span_s + 9) / 10 : span_s);
  std::vector<HistoryPoint> points;
  {
    const std::lock_guard lock(mutex_);
    points = tens ? history_.tens(count) : history_.seconds(count);
  }
  return history_json(points, tens, epoch_us_);
}

std::string Monitor::prefixes() {
  const auto survey = survey_now(true);
  if (survey == nullptr) {
    throw Error(ErrorCode::kDeadline, "the engine is in a long step; ask again");
  }
  const std::lock_guard lock(mutex_);
  const ModelInfo& model = engine_.info();
  const auto blocks = std::max<uint64_t>(survey->blocks.size(), 1);
  return prefixes_json(*survey, lives_, model.kv_bytes / blocks, epoch_us_);
}

std::string Monitor::plan() const {
  return plan_json(engine_.info(), engine_.work(), identity_, monotonic_us() - epoch_us_);
}

std::string Monitor::tiers() {
  const auto survey = survey_now(false);
  const std::lock_guard lock(mutex_);
  const int64_t now = monotonic_us();
  if (survey != nullptr) take_survey(*survey);
  const Frame seen = frame(now);
  return tiers_json(engine_.info(), seen.stats, seen.blocks, identity_, now - epoch_us_);
}

std::string Monitor::doctor(const std::vector<Finding>& at_start,
                            const std::vector<Finding>& now) const {
  return doctor_json(at_start, now, monotonic_us() - epoch_us_);
}

std::vector<RequestTimes> Monitor::request_times() {
  const std::lock_guard lock(mutex_);
  collect();
  std::vector<RequestTimes> out;
  for (const Life* l : lives_.changed_after(0)) {
    out.push_back({l->id, lives_.label(l->key), l->prompt, l->cached, l->queued_us, l->began_us});
  }
  return out;
}

std::optional<std::string> Monitor::request(RequestId id) {
  const std::lock_guard lock(mutex_);
  collect();
  const Life* life = lives_.find(id);
  if (life == nullptr) return std::nullopt;
  return request_json(*life,
                      {lives_.label(life->key), identity_.itl_ms, Audience::kAdmin, shows_text()},
                      epoch_us_);
}

// ---- Beginnings of texts

void Monitor::note_prompt(RequestId id, const Prompt& prompt) {
  std::string beginning;
  if (const auto* tokens = std::get_if<std::vector<TokenId>>(&prompt)) {
    // A token is a character or more, but for pieces of characters.
    const auto count = std::min(tokens->size(), 4 * identity_.text);
    const auto end = tokens->begin() + static_cast<std::ptrdiff_t>(count);
    extend_excerpt(beginning, engine_.detokenize({tokens->begin(), end}, false), identity_.text);
  } else if (const auto* text = std::get_if<TextPrompt>(&prompt)) {
    extend_excerpt(beginning, text->text, identity_.text);
  } else {
    extend_excerpt(beginning, telling_part(std::get<ChatPrompt>(prompt)), identity_.text);
  }
  const std::lock_guard lock(mutex_);
  lives_.note_prompt(id, std::move(beginning));
}

bool Monitor::note_answer(RequestId id, std::string_view text) {
  const std::lock_guard lock(mutex_);
  return lives_.note_answer(id, text, identity_.text);
}

// ---- An owner's own

std::string Monitor::own(const std::string& label) {
  const std::lock_guard lock(mutex_);
  collect();
  return own_json(lives_.of(label), label, monotonic_us(), epoch_us_);
}

std::optional<std::string> Monitor::own_request(const std::string& label, uint64_t number) {
  const std::lock_guard lock(mutex_);
  collect();
  const Life* life = lives_.find(label, number);
  if (life == nullptr) return std::nullopt;
  return request_json(*life, {label, identity_.itl_ms, Audience::kOwner, false}, epoch_us_);
}

}  // namespace serval
