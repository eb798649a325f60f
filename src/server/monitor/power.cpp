// energy_uj counts microjoules and starts again at zero now and then; an interval in which it did
// is left out. Since CVE-2020-8694 most systems let only root read it.
#include "server/monitor/power.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>

namespace serval {

PowerMeter::PowerMeter() : file_(::open(kRaplCounter, O_RDONLY | O_CLOEXEC)) {
  if (file_ >= 0) return;
  status_ = errno == EACCES
                ? "only root may read the energy counter; to let this user: chmod o+r " +
                      std::string(kRaplCounter)
                : "this machine shows no energy counter (virtual ones rarely do)";
}

PowerMeter::~PowerMeter() {
  if (file_ >= 0) ::close(file_);
}

std::optional<uint64_t> PowerMeter::read() const {
  char text[32];
  const ssize_t size = file_ < 0 ? -1 : ::pread(file_, text, sizeof text, 0);
  uint64_t value = 0;
  if (size <= 0 || std::from_chars(text, text + size, value).ec != std::errc()) return std::nullopt;
  return value;
}

std::optional<double> PowerMeter::watts(int64_t now_us) {
  const auto now_uj = read();
  if (!now_uj) return std::nullopt;
  std::optional<double> out;
  if (before_us_ > 0 && now_us > before_us_ && *now_uj >= before_uj_) {
    out = static_cast<double>(*now_uj - before_uj_) / static_cast<double>(now_us - before_us_);
  }
  before_uj_ = *now_uj;
  before_us_ = now_us;
  return out;
}

}  // namespace serval
