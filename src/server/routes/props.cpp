// GET /props: what runs here, with llama-server's names where it has them.
#include <boost/json/array.hpp>

#include "base/utf8.h"
#include "server/native/native.h"
#include "server/routes/answer.h"
#include "server/routes/routes.h"

namespace serval {
namespace {

namespace json = boost::json;

json::array texts(const std::vector<std::string>& list) {
  json::array out;
  for (const std::string& text : list) out.emplace_back(text);
  return out;
}

// What the tokenizer puts before a text; empty when that is nothing.
std::string bos_text(const Engine& engine) {
  return replace_invalid_utf8(engine.detokenize(engine.tokenize("", false, true), true));
}

}  // namespace

void props(Service& service, const ExchangePtr& exchange) {
  const ModelInfo& info = service.engine().info();
  const EngineStats stats = service.engine().stats();
  answer_json(exchange,
              {{"default_generation_settings",
                json::object{{"n_ctx", info.context}, {"params", sampling_json(info.sampling)}}},
               {"total_slots", service.config().slots},
               {"modalities", json::object{{"vision", false}, {"audio", false}}},
               {"bos_token", bos_text(service.engine())},
               {"model_alias", service.config().model},
               {"model_path", info.path},
               {"chat_template", info.chat_template},
               {"build_info", SERVAL_VERSION},
               {"backend", info.backend},
               {"kernels", info.kernels},
               {"threads", info.threads},
               {"kv_tokens", stats.kv_tokens_total},
               {"weight_bytes", info.weight_bytes},
               {"kv_bytes", info.kv_bytes},
               {"workspace_bytes", info.workspace_bytes},
               {"warnings", texts(info.warnings)},
               {"notices", texts(service.config().notices)}});
}

}  // namespace serval
