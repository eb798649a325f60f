// Streaming SHA-256.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace serval {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void update(std::span<const std::byte> bytes);
  // Lower-case hexadecimal. Ends the computation: call once.
  std::string finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// True for 64 hexadecimal digits.
bool is_sha256(std::string_view text);

}  // namespace serval
