#include "server/http/origin.h"

#include <arpa/inet.h>

#include <algorithm>

namespace serval {
namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return out;
}

bool is_port(std::string_view text) {
  return !text.empty() && text.size() <= 5 &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

std::string host_name(std::string_view field) {
  size_t end = field.rfind(':');
  if (field.starts_with('[')) {
    const size_t bracket = field.find(']');
    if (bracket == std::string_view::npos) return {};
    end = bracket + 1 == field.size() ? std::string_view::npos : bracket + 1;
    if (end != std::string_view::npos && field[end] != ':') return {};
  }
  if (end != std::string_view::npos) {
    if (!is_port(field.substr(end + 1))) return {};
    field = field.substr(0, end);
  }
  if (field.starts_with('[')) field = field.substr(1, field.size() - 2);
  return lower(field);
}

bool is_ip_address(std::string_view name) {
  const std::string text(name);
  in6_addr address;
  return ::inet_pton(AF_INET, text.c_str(), &address) == 1 ||
         ::inet_pton(AF_INET6, text.c_str(), &address) == 1;
}

bool is_loopback(std::string_view name) {
  const std::string text(name);
  in_addr v4;
  if (::inet_pton(AF_INET, text.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  return text == "localhost" || text == "::1";
}

HostCheck::HostCheck(std::string_view listen_host, const std::vector<std::string>& further)
    : names_{"localhost", "127.0.0.1", "::1"} {
  if (!listen_host.empty()) names_.push_back(lower(listen_host));
  for (const std::string& name : further) names_.push_back(lower(name));
  any_address_ = !listen_host.empty() && !is_loopback(listen_host);
}

bool HostCheck::accepts(std::string_view field) const {
  const std::string name = host_name(field);
  if (name.empty()) return false;
  return std::find(names_.begin(), names_.end(), name) != names_.end() ||
         (any_address_ && is_ip_address(name));
}

}  // namespace serval
