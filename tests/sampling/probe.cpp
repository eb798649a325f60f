// The sampling chain alone, for tests/sampling and for the reference page.
//   sampling_probe reference            prints docs/reference/sampling.md
//   sampling_probe chain                one JSON object per line in, one per line out:
//     {"logits": [...], "tokens": [...], "seed": 1, "position": 5, "breakers": [ids],
//      "params": {"top_k": 40, ..., "samplers": ["top_k"]}}
//     -> {"token": 3, "candidates": [[id, logit], ...]}: what the chain left, and its choice
#include <boost/json.hpp>
#include <cstdio>
#include <iostream>
#include <string>

#include "sampling/chain.h"

namespace json = boost::json;

namespace {

json::object run(const json::object& in) {
  serval::SamplingParams params;
  for (const auto& [key, value] : in.at("params").as_object()) {
    if (key == "samplers") {
      for (const auto& name : value.as_array()) params.samplers.emplace_back(name.as_string());
    } else {
      serval::find_parameter(key)->set(params, value.to_number<double>());
    }
  }
  auto logits = json::value_to<std::vector<float>>(in.at("logits"));
  const auto tokens = json::value_to<std::vector<serval::TokenId>>(in.at("tokens"));
  auto breakers = std::make_shared<serval::DryBreakers>();
  breakers->single.resize(logits.size());
  for (const auto& id : in.at("breakers").as_array()) {
    breakers->single[static_cast<size_t>(id.as_int64())] = true;
  }
  serval::validate(params, static_cast<int>(logits.size())).value();
  serval::SamplingChain chain(params, breakers);
  serval::SamplingScratch scratch;
  const serval::SamplingContext context{tokens.data(), tokens.size(), tokens.size(),
                                        in.at("seed").to_number<uint64_t>(),
                                        in.at("position").to_number<uint64_t>()};
  json::object out;
  out["token"] = chain.draw(logits, context, {}, scratch);
  json::array candidates;
  for (const serval::Candidate& c : scratch.candidates.list()) {
    candidates.push_back(json::array{c.id, c.logit});
  }
  out["candidates"] = std::move(candidates);
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  if (mode == "reference") {
    std::cout << serval::sampling_reference();
  } else if (mode == "chain") {
    std::string line;
    while (std::getline(std::cin, line)) {
      std::cout << json::serialize(run(json::parse(line).as_object())) << std::endl;
    }
  } else {
    std::fprintf(stderr, "usage: sampling_probe reference|chain\n");
    return 2;
  }
}
