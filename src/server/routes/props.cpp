// GET /props: what runs here, with llama-server's names where it has them.
#include <boost/json/array.hpp>

#include "sampling/processors.h"
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

json::object sampling_json(const SamplingParams& params) {
  json::object out;
  const auto add = [&](const Parameter& p) {
    const double value = p.get(params);
    out[p.name] = p.integer ? json::value(static_cast<int64_t>(value)) : json::value(value);
  };
  for (const Processor& processor : processors()) {
    for (const Parameter& parameter : processor.parameters) add(parameter);
  }
  for (const Parameter& parameter : general_parameters()) add(parameter);
  json::array order;
  if (params.samplers.empty()) {
    for (const std::string_view name : default_chain()) order.emplace_back(name);
  } else {
    order = texts(params.samplers);
  }
  out["samplers"] = std::move(order);
  return out;
}

}  // namespace

void props(Service& service, const ExchangePtr& exchange) {
  const ModelInfo& info = service.engine().info();
  const EngineStats stats = service.engine().stats();
  answer_json(exchange,
              {{"default_generation_settings",
                json::object{{"n_ctx", info.context}, {"params", sampling_json(info.sampling)}}},
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
