#include "text/chat/template.h"

#include <new>

#include "text/chat/interpreter.h"

namespace serval {

struct ChatTemplate::Impl {
  chat::Template parsed;
};

ChatTemplate::ChatTemplate() : impl_(std::make_unique<Impl>()) {}
ChatTemplate::~ChatTemplate() = default;

Result<std::shared_ptr<const ChatTemplate>> ChatTemplate::parse(std::string_view source) {
  try {
    std::shared_ptr<ChatTemplate> out(new ChatTemplate());
    out->impl_->parsed = chat::parse_template(source);
    return std::shared_ptr<const ChatTemplate>(std::move(out));
  } catch (const chat::TemplateFailure& failure) {
    return Error(failure.code, "chat template: " + failure.message);
  }
}

Result<std::vector<TextRun>> ChatTemplate::render(
    const boost::json::object& variables, int64_t now, const TemplateLimits& limits,
    const std::vector<std::string>& trusted_variables) const {
  chat::Budget budget(limits);
  chat::Interpreter interpreter(impl_->parsed, {variables, trusted_variables}, &budget, now);
  try {
    const chat::MarkedText text = interpreter.run();
    std::vector<TextRun> runs;
    for (size_t at = 0; at < text.size();) {
      const size_t end = text.run_end(at);
      runs.push_back({text.bytes().substr(at, end - at), text.trusted_at(at)});
      at = end;
    }
    return runs;
  } catch (const chat::TemplateFailure& failure) {
    if (failure.says_all) return Error(failure.code, failure.message);
    const chat::Position at = interpreter.position();
    return Error(failure.code, "chat template, line " + std::to_string(at.line) + ", column " +
                                   std::to_string(at.column) + ": " + failure.message);
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::kOutOfMemory, "chat template: no memory left while rendering");
  }
}

std::string join(const std::vector<TextRun>& runs) {
  std::string out;
  for (const TextRun& run : runs) out += run.text;
  return out;
}

}  // namespace serval
