#include "apps/environment.h"

#include <algorithm>
#include <cstdlib>

#include "serval/error.h"
#include "store/pull.h"

namespace serval {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

std::string under_home(const char* xdg_variable, const char* fallback) {
  const std::string xdg = variable(xdg_variable);
  if (!xdg.empty() && xdg.front() == '/') return xdg + "/serval";
  const std::string home = variable("HOME");
  if (home.empty()) {
    throw Error(ErrorCode::kNotFound, "HOME is not set; set SERVAL_HOME to a folder for models");
  }
  return home + "/" + fallback + "/serval";
}

std::string data_folder() {
  const std::string home = variable("SERVAL_HOME");
  return home.empty() ? under_home("XDG_DATA_HOME", ".local/share") : home;
}

}  // namespace

std::string model_root() { return data_folder() + "/models"; }

std::string snapshot_folder() {
  try {
    return data_folder() + "/snapshots";
  } catch (const Error&) {  // a service without a home that was given a model's path
    return {};
  }
}

std::string state_folder() { return under_home("XDG_STATE_HOME", ".local/state"); }

std::string hub_address() {
  std::string hub = variable("SERVAL_HUB");
  if (hub.empty()) hub = kDefaultHub;
  while (hub.ends_with('/')) hub.pop_back();
  return hub;
}

bool uses_proxy() {
  for (const char* name : {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"}) {
    if (!variable(name).empty()) return true;
  }
  return false;
}

bool no_color() { return !variable("NO_COLOR").empty() || variable("TERM") == "dumb"; }

bool speaks_utf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    std::string value = variable(name);
    if (value.empty()) continue;
    std::transform(value.begin(), value.end(), value.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    return value.find("utf-8") != std::string::npos || value.find("utf8") != std::string::npos;
  }
  return false;
}

bool on_linux_console() { return variable("TERM") == "linux"; }

std::string forced_isa() { return variable("SERVAL_FORCE_ISA"); }

std::string environment_api_key() { return variable("SERVAL_API_KEY"); }

}  // namespace serval
