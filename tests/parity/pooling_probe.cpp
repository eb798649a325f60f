// Pooled hidden states as the engine gives them out, for test_pooling.py:
//   pooling_probe MODEL BACKEND KV_TYPE ROWS_PER_STEP
// reads [{"tokens": [...], "pooling": "mean" | "last" | "cls"}, ...] from stdin, runs all of them
// together beside one stream of text, and prints the vectors: [[...], ...].
#include <boost/json.hpp>
#include <cstdio>
#include <future>
#include <iostream>
#include <iterator>
#include <string>

#include "serval/engine.h"

namespace json = boost::json;

namespace {

using serval::Pooling;

Pooling pooling_of(std::string_view name) {
  return name == "mean" ? Pooling::kMean : name == "last" ? Pooling::kLast : Pooling::kCls;
}

std::future<std::vector<float>> pool(serval::Engine& engine, const json::object& in) {
  serval::Request request;
  request.prompt = json::value_to<std::vector<serval::TokenId>>(in.at("tokens"));
  request.pooling = pooling_of(in.at("pooling").as_string());
  auto result = std::make_shared<std::promise<std::vector<float>>>();
  auto values = std::make_shared<std::vector<float>>();
  engine
      .submit(std::move(request),
              [result, values](serval::RequestId, const serval::Event& event) {
                if (const auto* pooled = std::get_if<serval::Pooled>(&event)) {
                  *values = pooled->values;
                } else if (std::holds_alternative<serval::Finished>(event)) {
                  result->set_value(*values);
                } else if (const auto* failed = std::get_if<serval::Failed>(&event)) {
                  result->set_exception(std::make_exception_ptr(failed->error));
                }
                return true;
              })
      .value();
  return result->get_future();
}

void run(char** argv) {
  serval::EngineConfig config;
  config.model = argv[1];
  config.backend = argv[2];
  config.kv_type =
      std::string(argv[3]) == "f32" ? serval::KvStorage::kF32 : serval::KvStorage::kF16;
  config.batch_tokens = std::stoi(argv[4]);
  config.context = 256;
  config.kv_tokens = 2048;
  const auto engine = std::move(serval::Engine::load(config).value());
  const std::string text((std::istreambuf_iterator<char>(std::cin)), {});
  serval::Request stream;
  stream.prompt = std::vector<serval::TokenId>{5, 6, 7, 8};
  stream.ignore_eos = true;
  const auto id = engine->submit(stream, nullptr);
  std::vector<std::future<std::vector<float>>> results;
  const json::value requests = json::parse(text);
  for (const json::value& in : requests.as_array()) {
    results.push_back(pool(*engine, in.as_object()));
  }
  json::array out;
  for (auto& result : results) out.push_back(json::value_from(result.get()));
  engine->cancel(id.value());
  std::cout << json::serialize(out) << '\n';
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: pooling_probe MODEL BACKEND KV_TYPE ROWS_PER_STEP\n");
    return 2;
  }
  try {
    run(argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "pooling_probe: %s\n", e.what());
    return 1;
  }
}
