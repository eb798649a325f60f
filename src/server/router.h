// The routes: one row per method and path, each with who may use it and where it runs.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "server/http/exchange.h"
#include "server/keys.h"
#include "server/service.h"

namespace serval {

enum class Lane : uint8_t {
  kInline,  // on the I/O thread: reads a few atomics
  kWorker,  // JSON, templates, tokenizer
};

using RouteFunction = void (*)(Service& service, const ExchangePtr& exchange);

struct Route {
  // No default for any of them: a route without an access class does not compile.
  constexpr Route(std::string_view m, std::string_view p, Access a, Lane l, RouteFunction f)
      : method(m), path(p), access(a), lane(l), run(f) {}

  std::string_view method;
  std::string_view path;  // ending in "/*": any one name follows
  Access access;
  Lane lane;
  RouteFunction run;
};

std::span<const Route> routes();

struct RouteMatch {
  const Route* route = nullptr;
  std::string allowed;  // without a route: methods the path does know; empty: unknown path
};
// HEAD finds the row of GET.
RouteMatch find_route(std::string_view method, std::string_view path);

}  // namespace serval
