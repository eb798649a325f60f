// What watchers are told: events of a request's life as they happen, and on demand a survey between
// two steps.
#include <algorithm>
#include <cstring>

#include "engine/core.h"

namespace serval {
namespace {

SequenceStage stage_of(const Sequence& s) {
  if (s.paused) return SequenceStage::kPaused;
  if (s.loading) return SequenceStage::kLoading;
  if (s.blocks.empty()) {
    return s.preemptions > 0 ? SequenceStage::kPreempted : SequenceStage::kWaiting;
  }
  return s.completion_tokens() > 0 && s.pending() <= 1 ? SequenceStage::kDecode
                                                       : SequenceStage::kPrefill;
}

LifeOutcome outcome_of(const Sequence& s) {
  if (s.failed) return LifeOutcome::kFailed;
  if (!s.finished) return LifeOutcome::kNone;
  switch (*s.finished) {
    case FinishReason::kStop:
      return LifeOutcome::kStop;
    case FinishReason::kLength:
      return LifeOutcome::kLength;
    case FinishReason::kContextFull:
      return LifeOutcome::kContextFull;
    case FinishReason::kCancelled:
      return LifeOutcome::kCancelled;
  }
  return LifeOutcome::kNone;
}

}  // namespace

void Core::note(LifeKind kind, const Sequence& s, int64_t at_us) {
  LifeEvent event;
  event.at_us = at_us;
  event.request = s.id;
  event.kind = kind;
  event.outcome = outcome_of(s);
  event.prompt_tokens = s.prompt_tokens;
  event.cached_tokens = s.cached_tokens;
  event.completion_tokens = s.completion_tokens();
  event.preemptions = s.preemptions;
  std::memcpy(event.tenant.data(), s.tenant.data(),
              std::min(s.tenant.size(), event.tenant.size() - 1));
  lives_.push(event);
}

void Core::survey(Survey& out, bool prefixes) {
  out.at_us = clock_();
  out.sequences.clear();
  out.tenants.clear();
  std::vector<const BlockTable*> tables;
  scheduler_.for_each([&](const Sequence& s) {
    tables.push_back(&s.blocks);
    out.sequences.push_back({s.id, stage_of(s), s.computed, s.preemptions});
  });
  blocks_.states(tables, out.blocks);
  scheduler_.tenants().for_each([&](const std::string& name, const Tenant& tenant) {
    if (tenant.sequences > 0) out.tenants.push_back({name, tenant.served});
  });
  out.prefixes.clear();
  if (prefixes) blocks_.prefixes(out.prefixes);
}

}  // namespace serval
