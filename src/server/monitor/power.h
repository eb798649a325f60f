// PowerMeter: watts of the processor package, from the kernel's RAPL counter. Where it is missing
// or only root may read it, says so; nothing is ever guessed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace serval {

// What a sandbox must let through.
inline constexpr const char* kRaplCounter = "/sys/class/powercap/intel-rapl:0/energy_uj";

class PowerMeter {
 public:
  PowerMeter();
  ~PowerMeter();
  PowerMeter(const PowerMeter&) = delete;
  PowerMeter& operator=(const PowerMeter&) = delete;

  // "ok", or why there are no watts and what would help.
  const std::string& status() const { return status_; }
  // Mean since the call before; nullopt: not known.
  std::optional<double> watts(int64_t now_us);

 private:
  std::optional<uint64_t> read() const;

  int file_ = -1;
  std::string status_ = "ok";
  uint64_t before_uj_ = 0;
  int64_t before_us_ = 0;
};

}  // namespace serval
