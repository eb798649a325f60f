// Events tell what the engine decided (queued, begun, ended), steps what it did in between. A token
// of a request comes at the end of the step that decoded its last one; the gap before it is blamed
// on the first of these that happened since the token before: a pause, a preemption, else the steps
// themselves, with the prompt rows of others that they carried.
#include "server/monitor/lives.h"

#include <algorithm>
#include <cmath>

#include "schedule/block_manager.h"
#include "server/monitor/excerpt.h"

namespace serval {
namespace {

constexpr size_t kWaits = 256;
constexpr int64_t kMergeUs = 1'000'000;  // decodes are merged into spans of about so long

Stage stage_of(LifeOutcome outcome) {
  switch (outcome) {
    case LifeOutcome::kStop:
      return Stage::kStop;
    case LifeOutcome::kLength:
      return Stage::kLength;
    case LifeOutcome::kContextFull:
      return Stage::kContextFull;
    case LifeOutcome::kFailed:
      return Stage::kFailed;
    case LifeOutcome::kCancelled:
    case LifeOutcome::kNone:
      break;
  }
  return Stage::kCancelled;
}

Stage stage_of(SequenceStage stage) {
  switch (stage) {
    case SequenceStage::kWaiting:
      return Stage::kWaiting;
    case SequenceStage::kLoading:
      return Stage::kLoading;
    case SequenceStage::kPrefill:
      return Stage::kPrefill;
    case SequenceStage::kDecode:
      return Stage::kDecode;
    case SequenceStage::kPaused:
      return Stage::kPaused;
    case SequenceStage::kPreempted:
      break;
  }
  return Stage::kPreempted;
}

double milliseconds(int64_t us) { return static_cast<double>(us) / 1000; }

std::optional<double> exact_quantile(std::vector<float> values, double share) {
  if (values.empty()) return std::nullopt;
  const auto at = static_cast<size_t>(std::lround(share * static_cast<double>(values.size() - 1)));
  const auto place = values.begin() + static_cast<std::ptrdiff_t>(at);
  std::nth_element(values.begin(), place, values.end());
  return *place;
}

}  // namespace

const char* to_string(Stage stage) {
  constexpr const char* kNames[] = {"waiting",      "loading",   "prefill", "decode",
                                    "paused",       "preempted", "stop",    "length",
                                    "context_full", "cancelled", "failed"};
  return kNames[static_cast<size_t>(stage)];
}

// ---- Events

void Lives::add(const LifeEvent& event) {
  // Whoever is not known when it ends was forgotten.
  const bool beginning = event.kind <= LifeKind::kFirstToken;
  Life* const found = life(event.request, beginning);
  if (found == nullptr || ended(found->stage)) return;
  Life& l = *found;
  if (l.key < 0) {
    l.key = key_index(event.tenant.data());
    if (l.key >= 0) l.number = ++keys_[static_cast<size_t>(l.key)].requests;
  }
  l.prompt = event.prompt_tokens;
  l.seen_us = event.at_us;
  touch(l);
  switch (event.kind) {
    case LifeKind::kQueued:
      l.queued_us = event.at_us;
      l.begun_before = begun_;
      break;
    case LifeKind::kBegan:
      begin(l, event);
      break;
    case LifeKind::kFirstToken:
      l.stage = Stage::kDecode;
      l.first_us = l.last_us = event.at_us;
      l.generated = std::max(l.generated, 1);
      l.done = l.prompt;
      l.prompt_rows_before = prompt_rows_;
      if (l.queued_us >= 0) {
        const double ms = milliseconds(event.at_us - l.queued_us);
        ttft_.at(event.at_us).add(ms);
        recent_.ttft.add(ms);
      }
      break;
    case LifeKind::kPaused:
      l.stage = Stage::kPaused;
      l.was_paused = true;
      break;
    case LifeKind::kResumed:
      l.stage = l.began_us < 0   ? Stage::kWaiting
                : l.first_us < 0 ? Stage::kPrefill
                                 : Stage::kDecode;
      break;
    case LifeKind::kEnded:
      l.generated = event.completion_tokens;
      l.evictions = event.preemptions;
      end(l, stage_of(event.outcome), event.at_us);
      break;
  }
}

void Lives::begin(Life& l, const LifeEvent& event) {
  l.stage = Stage::kPrefill;
  l.began_us = event.at_us;
  l.cached = l.done = event.cached_tokens;
  l.ahead = static_cast<int>(begun_ - l.begun_before);
  ++begun_;
  if (l.queued_us < 0 || l.key < 0) return;
  Key& key = keys_[static_cast<size_t>(l.key)];
  const auto ms = static_cast<float>(milliseconds(event.at_us - l.queued_us));
  if (key.waits.size() < kWaits) {
    key.waits.push_back(ms);
  } else {
    key.waits[key.next_wait] = ms;
    key.next_wait = (key.next_wait + 1) % kWaits;
  }
}

// Ended ones are forgotten in the order in which they ended.
void Lives::end(Life& l, Stage stage, int64_t at_us) {
  l.stage = stage;
  l.ended_us = at_us;
  ended_.push_back(l.id);
  while (ended_.size() > kEnded) {
    forget(ended_.front());
    ended_.pop_front();
  }
}

void Lives::forget(RequestId id) {
  lives_.erase(id);
  forgotten_ = std::max(forgotten_, id);
}

// ---- Steps

int Lives::add(const StepRecord& step) {
  const int64_t prompt_rows = step.rows - step.decode_rows;
  prompt_rows_ += prompt_rows;
  rows_.at(step.end_us) += step.rows;
  int tokens = 0;
  for (const StepSpan& span : step.spans) {
    Life* const found = life(span.request, false);
    if (found == nullptr) continue;
    Life& l = *found;
    if (l.key >= 0) keys_[static_cast<size_t>(l.key)].rows.at(step.end_us) += span.rows;
    tokens += add_span(l, step, span) ? 1 : 0;
  }
  return tokens;
}

// Did it generate a token that was not its first?
bool Lives::add_span(Life& l, const StepRecord& step, const StepSpan& span) {
  WorkSpan* last = l.spans.empty() ? nullptr : &l.spans.back();
  const bool merge = last != nullptr && span.kind == SpanKind::kDecode && last->kind == span.kind &&
                     step.end_us - last->begin_us < kMergeUs &&
                     step.begin_us - last->end_us < kMergeUs / 10;
  if (merge) {
    last->end_us = step.end_us;
    last->rows += span.rows;
  } else {
    if (l.spans.size() == Life::kMostSpans) {
      l.spans.erase(l.spans.begin(), l.spans.begin() + Life::kMostSpans / 4);
      l.spans_cut = true;
    }
    l.spans.push_back({step.begin_us, step.end_us, span.kind, span.rows, step.number});
  }
  touch(l);
  l.seen_us = std::max(l.seen_us, step.end_us);
  // Its own rows are no others', and what came before its first token delayed no later one.
  if (span.kind == SpanKind::kPrefill) l.prompt_rows_before = prompt_rows_;
  if (span.kind == SpanKind::kRecomputed) l.prompt_rows_before += span.rows;
  if (span.kind == SpanKind::kRecomputed && !l.was_preempted) {
    l.was_preempted = true;
    if (!ended(l.stage)) ++l.evictions;
  }
  const int known = span.context + span.rows;
  l.done = std::min(l.prompt, std::max(l.done, known));
  // With the last known token computed, the next one follows.
  const int generated = known - l.prompt + 1;
  if (l.first_us < 0 || generated <= std::max(l.generated, 1)) return false;
  if (ended(l.stage) && generated > l.generated) return false;
  l.generated = generated;
  if (!ended(l.stage)) l.stage = Stage::kDecode;
  token(l, step.end_us);
  return true;
}

void Lives::token(Life& l, int64_t at_us) {
  Gap gap;
  gap.end_us = at_us;
  gap.length_us = std::max<int64_t>(at_us - l.last_us, 0);
  gap.cause = l.was_paused      ? GapCause::kPaused
              : l.was_preempted ? GapCause::kPreempted
                                : GapCause::kStep;
  gap.others_rows = prompt_rows_ - l.prompt_rows_before;
  const double ms = milliseconds(gap.length_us);
  l.gaps.add(ms);
  itl_.at(at_us).add(ms);
  recent_.itl.add(ms);
  if (gap.length_us > late_us_) ++l.late;
  const auto shorter = [](const Gap& a, const Gap& b) { return a.length_us < b.length_us; };
  if (l.longest.size() < Life::kMostGaps) {
    l.longest.push_back(gap);
  } else {
    const auto least = std::min_element(l.longest.begin(), l.longest.end(), shorter);
    if (shorter(*least, gap)) *least = gap;
  }
  l.last_us = at_us;
  l.prompt_rows_before = prompt_rows_;
  l.was_paused = l.was_preempted = false;
}

// ---- Texts

// An id up to those forgotten is no new one: it would never end.
void Lives::note_prompt(RequestId id, std::string text) {
  Life* const l = life(id, id > forgotten_);
  if (l == nullptr) return;
  l->prompt_text = std::move(text);
  l->text_changed = ++serial_;
}

bool Lives::note_answer(RequestId id, std::string_view text, size_t most) {
  Life* const l = life(id, id > forgotten_);
  if (l == nullptr) return false;
  const bool more = extend_excerpt(l->answer_text, text, most);
  l->text_changed = ++serial_;
  return more;
}

// ---- Surveys

void Lives::add(const Survey& survey) {
  for (const SequenceState& state : survey.sequences) {
    Life* const found = life(state.id, false);
    // What came since knows better.
    if (found == nullptr || ended(found->stage) || found->seen_us > survey.at_us) continue;
    Life& l = *found;
    const Stage stage = stage_of(state.stage);
    if (l.stage != stage || l.evictions != state.preemptions) touch(l);
    l.stage = stage;
    l.evictions = state.preemptions;
    l.was_preempted = l.was_preempted || stage == Stage::kPreempted;
  }
}

// ---- Reading

Life* Lives::life(RequestId id, bool create) {
  const auto known = lives_.find(id);
  if (known != lives_.end() || !create) return known == lives_.end() ? nullptr : &known->second;
  while (lives_.size() >= kAlive) {
    std::erase(ended_, lives_.begin()->first);
    forget(lives_.begin()->first);
  }
  Life& fresh = lives_[id];
  fresh.id = id;
  return &fresh;
}

const Life* Lives::find(RequestId id) const {
  const auto found = lives_.find(id);
  return found == lives_.end() ? nullptr : &found->second;
}

std::vector<const Life*> Lives::of(const std::string& label) const {
  std::vector<const Life*> out;
  const auto key = key_index_.find(label);
  if (key == key_index_.end()) return out;
  for (const auto& [id, l] : lives_) {
    if (l.key == key->second) out.push_back(&l);
  }
  return out;
}

const Life* Lives::find(const std::string& label, uint64_t number) const {
  for (const Life* l : of(label)) {
    if (l->number == number) return l;
  }
  return nullptr;
}

std::vector<const Life*> Lives::changed_after(uint64_t serial) const {
  std::vector<const Life*> out;
  for (const auto& [id, l] : lives_) {
    if (l.changed > serial) out.push_back(&l);
  }
  return out;
}

int Lives::key_index(const char* label) {
  const auto found = key_index_.find(label);
  if (found != key_index_.end()) return found->second;
  if (keys_.size() == kKeys) return -1;
  const int index = static_cast<int>(keys_.size());
  key_index_.emplace(label, index);
  domains_.emplace(cache_domain(label, ""), index);
  keys_.emplace_back().label = label;
  return index;
}

const std::string& Lives::label(int key) const {
  static const std::string none;
  return key < 0 ? none : keys_[static_cast<size_t>(key)].label;
}

int Lives::key_of_domain(uint64_t domain) const {
  const auto found = domains_.find(domain);
  return found == domains_.end() ? -1 : found->second;
}

std::vector<KeyStats> Lives::keys(int64_t now_us) {
  std::vector<KeyStats> out(keys_.size());
  int64_t all = 0;
  rows_.for_each(now_us, [&](int64_t rows) { all += rows; });
  for (size_t i = 0; i < keys_.size(); ++i) {
    Key& key = keys_[i];
    int64_t own = 0;
    key.rows.for_each(now_us, [&](int64_t rows) { own += rows; });
    out[i].label = key.label;
    out[i].share = all > 0 ? std::min(1.0, static_cast<double>(own) / static_cast<double>(all)) : 0;
    out[i].wait50 = exact_quantile(key.waits, 0.5);
    out[i].wait99 = exact_quantile(key.waits, 0.99);
  }
  for (const auto& [id, l] : lives_) {
    if (ended(l.stage) || l.key < 0) continue;
    KeyStats& key = out[static_cast<size_t>(l.key)];
    const bool waits =
        l.stage == Stage::kWaiting || l.stage == Stage::kLoading || l.stage == Stage::kPreempted;
    ++(waits ? key.waiting : key.running);
  }
  return out;
}

Lives::Pair Lives::pair(LastMinute<LargeTimeCounts>& window, int64_t now_us) {
  LargeTimeCounts all;
  window.for_each(now_us, [&](const LargeTimeCounts& slice) { all.add(slice); });
  return {all.quantile(0.5), all.quantile(0.99)};
}

Lives::Latencies Lives::take_recent() { return std::exchange(recent_, {}); }

}  // namespace serval
