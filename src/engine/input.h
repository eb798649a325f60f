// Input: from a Request to a Sequence, on the caller's thread. Chat template, tokenizer, limits:
// whatever can be refused is refused here, before the request costs the engine anything.
//
// Owned by the Engine; immutable but for one guarded cache, so any thread may use it.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "engine/sequence.h"
#include "serval/request.h"
#include "text/chat/template.h"
#include "text/tokenizer.h"

namespace serval {

class Input {
 public:
  // `chat_template` may be empty (then `template_problem` says why chats cannot be rendered).
  Input(const Tokenizer& tokenizer, std::shared_ptr<const ChatTemplate> chat_template,
        std::string template_problem, int context);

  Result<std::string> render(const ChatPrompt& chat) const;
  Result<std::vector<TokenId>> tokenize(const Prompt& prompt) const;
  // A sequence ready for the scheduler, all but its id's order.
  Result<SequencePtr> prepare(Request request, OutletPtr outlet, int64_t now_us) const;

 private:
  Result<std::vector<TextRun>> render_runs(const ChatPrompt& chat) const;
  Result<void> check(const Request& request) const;
  Result<void> check_sharing(const Request& request) const;
  Result<void> check_prompt(const std::vector<TokenId>& tokens, const Request& request) const;
  // `continues`: the prompt has text that the answer goes on from.
  std::unique_ptr<Generation> generation_of(Request request, OutletPtr outlet, bool continues,
                                            int64_t now_us) const;
  std::shared_ptr<const DryBreakers> dry_breakers(const SamplingParams& params) const;

  const Tokenizer& tokenizer_;
  std::shared_ptr<const ChatTemplate> template_;
  std::string template_problem_;
  int context_;
  mutable std::mutex breakers_mutex_;
  mutable std::vector<std::string> breakers_text_;
  mutable std::shared_ptr<const DryBreakers> breakers_;  // for breakers_text_
};

}  // namespace serval
