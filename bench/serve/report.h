// The figures of a run, under the names of `vllm bench serve`.
#pragma once

#include <boost/json.hpp>
#include <string>

#include "serve/generator.h"

namespace bench {

struct ReportOptions {
  std::string model, date;
  LoadOptions load;
  bool detailed = false;  // with the arrays per request
};

boost::json::object make_report(const LoadResult& load, const ReportOptions& options);
// A few lines for people.
std::string summary(const boost::json::object& report);

}  // namespace bench
