// template_probe: renders chat templates line by line, for the comparison with Python's jinja2.
//   in:  {"template": "...", "variables": {...}, "now": 0, "trusted": ["bos_token"]}
//   out: {"text": "...", "runs": [["...", true], ...], "microseconds": 12}  or  {"error": "..."}
#include <boost/json.hpp>
#include <chrono>
#include <iostream>
#include <string>

#include "text/chat/template.h"

namespace {

namespace json = boost::json;

json::object render(const json::object& request) {
  std::vector<std::string> trusted;
  if (const auto* names = request.if_contains("trusted")) {
    for (const auto& name : names->as_array()) trusted.emplace_back(name.as_string());
  }
  const auto now = request.contains("now") ? request.at("now").to_number<int64_t>() : 0;
  auto parsed = serval::ChatTemplate::parse(std::string(request.at("template").as_string()));
  if (!parsed) return {{"error", parsed.error().message()}};
  const auto start = std::chrono::steady_clock::now();
  auto runs = (*parsed)->render(request.at("variables").as_object(), now, {}, trusted);
  const auto spent = std::chrono::steady_clock::now() - start;
  if (!runs) return {{"error", runs.error().message()}};
  json::array shown;
  for (const auto& run : *runs) shown.push_back(json::array{run.text, run.trusted});
  return {{"text", serval::join(*runs)},
          {"runs", std::move(shown)},
          {"microseconds", std::chrono::duration_cast<std::chrono::microseconds>(spent).count()}};
}

}  // namespace

int main() {
  json::parse_options options;
  options.max_depth = 256;
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << json::serialize(render(json::parse(line, {}, options).as_object())) << "\n";
  }
}
