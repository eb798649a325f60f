// GET /v1/models, GET /v1/models/{id}
#include <boost/json/array.hpp>

#include "server/routes/answer.h"
#include "server/routes/routes.h"

namespace serval {
namespace {

namespace json = boost::json;

json::object model_json(const Service& service, const std::string& name) {
  const ModelInfo& info = service.engine().info();
  return {{"id", name},
          {"object", "model"},
          {"created", service.created()},
          {"owned_by", "serval"},
          {"max_model_len", info.context},
          {"meta", json::object{{"architecture", info.architecture},
                                {"n_vocab", info.vocab_size},
                                {"n_ctx", info.context},
                                {"n_ctx_train", info.trained_context},
                                {"n_embd", info.hidden_size},
                                {"n_params", info.parameters},
                                {"size", info.file_bytes}}}};
}

}  // namespace

void list_models(Service& service, const ExchangePtr& exchange) {
  answer_json(exchange, {{"object", "list"},
                         {"data", json::array{model_json(service, service.config().model)}}});
}

void show_model(Service& service, const ExchangePtr& exchange) {
  constexpr std::string_view kFolder = "/models/";
  const std::string& path = exchange->request().path;
  const std::string name = path.substr(path.find(kFolder) + kFolder.size());
  if (name.empty() || !service.serves(name)) {
    answer_error(exchange, unknown_model(name.substr(0, 200)));
    return;
  }
  answer_json(exchange, model_json(service, name));
}

}  // namespace serval
