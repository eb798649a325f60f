// Admission: which waiting sequences begin. See scheduler.h for the policy.
//
// The candidates of one plan are looked at one by one: the first of the tenant that was served
// least, then again, for an admission is charged at once. A candidate is admitted, or left for
// later (it would only hold blocks, or a prefix of it is being computed), or finds no room.
#include <algorithm>

#include "base/check.h"
#include "engine/scheduler.h"

namespace serval {
namespace {

constexpr int kMostLooks = 64;  // candidates considered for one plan
constexpr int kMostPassed = 16;
constexpr int kMostPrefixWaits = 1024;
constexpr int kWorthWaiting = kBlockTokens;  // tokens of a prefix being computed

int common_prefix(const Sequence& a, const Sequence& b, int most) {
  const auto end = b.tokens.begin() + std::min(most, b.known());
  return static_cast<int>(
      std::mismatch(b.tokens.begin(), end, a.tokens.begin(), a.tokens.end()).first -
      b.tokens.begin());
}

// Tokens whose KV may be another's: never the last known one, whose logits are wanted.
int reusable_tokens(const Sequence& s) {
  return s.use_cache ? std::max(0, std::min(s.known() - 1, s.reuse_limit)) : 0;
}

}  // namespace

void Scheduler::admit() {
  for (int looks = 0; looks < kMostLooks && plan_.preempted == 0; ++looks) {
    Sequence* s = next_candidate();
    if (s == nullptr) return;
    s->looked_at = plans_;
    const Verdict verdict = running() < limits_.max_sequences ? consider(*s) : Verdict::kNoRoom;
    if (verdict == Verdict::kAdmitted) {
      ++admissions_;
      s->passed_over = 0;
      for (const SequencePtr& other : waiting_) {
        if (other->looked_at == plans_ && other->no_room) ++other->passed_over;
      }
      const auto at = std::find_if(waiting_.begin(), waiting_.end(),
                                   [&](const SequencePtr& w) { return w.get() == s; });
      SequencePtr owned = std::move(*at);
      waiting_.erase(at);
      running_.insert(std::upper_bound(
                          running_.begin(), running_.end(), owned,
                          [](const SequencePtr& a, const SequencePtr& b) { return a->id < b->id; }),
                      std::move(owned));
    }
    s->no_room = verdict == Verdict::kNoRoom;
    if (verdict != Verdict::kNoRoom) continue;
    if (running() == 0) {
      refuse(*s);
    } else if (preempt_paused() || running() == limits_.max_sequences || s->preemptions > 0 ||
               s->passed_over >= kMostPassed) {
      return;
    }
  }
}

Sequence* Scheduler::next_candidate() {
  Sequence* best = nullptr;
  for (const SequencePtr& s : waiting_) {
    if (s->ended() || s->paused || s->loading || s->looked_at == plans_) continue;
    if (s->preemptions > 0) return s.get();
    if (best == nullptr || s->account->served < best->account->served) best = s.get();
  }
  return best;
}

Scheduler::Verdict Scheduler::consider(Sequence& s) {
  if (crowded(s)) return Verdict::kLater;
  const Reuse reuse = reusable(s);
  if (awaits_prefix(s, reuse)) {
    ++s.prefix_waits;
    return Verdict::kLater;
  }
  if (!fits(s, reuse.match)) return Verdict::kNoRoom;
  take(s, reuse);
  return Verdict::kAdmitted;
}

// Others use up the step, and it would not be among the two that go first: it would hold blocks
// for nothing, and find less in the cache than later.
bool Scheduler::crowded(const Sequence& sequence) const {
  int wanted = 0;
  int before = 0;
  for (const SequencePtr& s : running_) {
    if (s->paused || s->ended() || s->pending() <= 1) continue;
    wanted += s->pending();
    before += urgency(*s) <= urgency(sequence) ? 1 : 0;
  }
  return before >= 2 && wanted >= limits_.batch_tokens;
}

Scheduler::Reuse Scheduler::reusable(const Sequence& sequence) const {
  const int most = reusable_tokens(sequence);
  Reuse out;
  if (most == 0) return out;
  const std::span<const TokenId> tokens(sequence.tokens.data(), static_cast<size_t>(most));
  out.match = blocks_.find(tokens, most / kBlockTokens, sequence.domain);
  if (copy_ == nullptr) return out;
  const auto whole = static_cast<size_t>(out.match.blocks);
  out.partial =
      blocks_.find_partial(out.match.last, tokens.subspan(whole * kBlockTokens), sequence.domain);
  // The block that another one is writing just now may begin alike, too.
  for (const SequencePtr& s : running_) {
    if (!s->use_cache || s->domain != sequence.domain || s->blocks.size() <= whole ||
        (whole > 0 && s->blocks[whole - 1] != out.match.last)) {
      continue;
    }
    const int equal = common_prefix(*s, sequence, std::min(s->computed, most));
    const int rows = std::min(equal - out.match.blocks * kBlockTokens, kBlockTokens);
    if (rows > out.partial.rows) out.partial = {s->blocks[whole], rows};
  }
  return out;
}

bool Scheduler::awaits_prefix(const Sequence& sequence, const Reuse& reuse) const {
  const int most = reusable_tokens(sequence);
  if (sequence.preemptions > 0 || sequence.prefix_waits >= kMostPrefixWaits) return false;
  for (const SequencePtr& s : running_) {
    if (!s->use_cache || s->domain != sequence.domain || s->paused || s->ended()) continue;
    if (s->computed >= most || s->pending() <= 1) continue;
    const int soon = common_prefix(*s, sequence, most);
    // One that ends with its prompt leaves only whole blocks behind.
    const bool whole = copy_ == nullptr || s->known() + 1 >= s->length_limit;
    const int gain = (whole ? soon / kBlockTokens * kBlockTokens : soon) - reuse.tokens();
    if (s->computed < soon && gain > 0 && (gain >= kWorthWaiting || soon == most)) return true;
  }
  return false;
}

bool Scheduler::fits(const Sequence& sequence, const BlockManager::Match& match) {
  const int available = blocks_.available() - match.idle;
  if (running_.empty()) return blocks_for(sequence.known()) - match.blocks <= available;
  const auto rest = [this](const Sequence& s) {
    return answers_.expected_rest(s.completion_tokens(), s.length_limit - s.known());
  };
  growth_.clear();
  for (const SequencePtr& s : running_) {
    if (s->paused || s->ended()) continue;
    growth_.push_back(
        {s->known(), static_cast<int>(s->blocks.size()), rest(*s), blocks_.exclusive(s->blocks)});
  }
  growth_.push_back({sequence.known(), match.blocks, rest(sequence), match.idle});
  return peak_growth(growth_) <= available;
}

void Scheduler::take(Sequence& s, const Reuse& reuse) {
  const int whole = blocks_.take_cached(s.tokens, reuse.match.blocks, s.blocks, s.domain);
  SERVAL_CHECK(whole == reuse.match.blocks);
  SERVAL_CHECK(blocks_.grow(s.blocks, blocks_for(s.known())));
  s.computed = reuse.tokens();
  if (reuse.partial.rows > 0) {
    // grow() may have evicted the source, even to serve this sequence; its K/V are still there.
    const BlockId to = s.blocks[static_cast<size_t>(whole)];
    if (to != reuse.partial.block) copy_(reuse.partial.block, to);
  }
  if (s.preemptions == 0) {
    s.cached_tokens = s.charged = s.computed;
    charge(s, s.known());
  }
}

// Alone, and still no room: blocks are held outside the scheduler.
void Scheduler::refuse(Sequence& s) const {
  if (s.completion_tokens() > 0) {
    s.finished = FinishReason::kContextFull;
    return;
  }
  s.failed = Error(ErrorCode::kResourceExhausted,
                   "the prompt needs " + std::to_string(blocks_for(s.known())) +
                       " KV blocks, but only " + std::to_string(blocks_.available()) +
                       " are not held by loaded snapshots; release some or raise the KV pool");
}

// The tenant pays for the first `tokens` of the sequence, once: at admission for what is known, and
// then token by token, but not again for what a preemption makes necessary.
void Scheduler::charge(Sequence& s, int tokens) {
  s.account->served += std::max(0, tokens - s.charged);
  s.charged = std::max(s.charged, tokens);
}

}  // namespace serval
