// Who a browser may be talking for: the Host and Origin fields.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace serval {

// The name inside "name:port" or "[address]:port", in lower case; empty when it is none.
std::string host_name(std::string_view host_field);
bool is_ip_address(std::string_view name);
bool is_loopback(std::string_view name);

// A web page that rebinds its own name to our address still sends that name. So: names of this
// machine's loopback, the address we were told to listen on, and what was configured; beyond
// loopback any literal address as well, which cannot be rebound.
class HostCheck {
 public:
  HostCheck(std::string_view listen_host, const std::vector<std::string>& further);
  bool accepts(std::string_view host_field) const;

 private:
  std::vector<std::string> names_;
  bool any_address_ = false;
};

}  // namespace serval
