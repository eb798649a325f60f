// Budget: what one rendering may spend, and the error that ends it. Every loop over data charges
// steps, every string and list built is held while it lives, so that no template, however hostile,
// costs more than a fraction of a second or a few megabytes.
#pragma once

#include <cstdint>
#include <string>

#include "serval/error.h"
#include "text/chat/template.h"

namespace serval::chat {

// Thrown inside the engine; ChatTemplate turns it into an Error with the place prepended.
struct TemplateFailure {
  std::string message;
  ErrorCode code = ErrorCode::kInvalidArgument;
  bool says_all = false;  // raise_exception: the template's own words, without a position
};

[[noreturn]] inline void fail(std::string message) { throw TemplateFailure{std::move(message)}; }
[[noreturn]] inline void fail_limit(std::string message) {
  throw TemplateFailure{std::move(message), ErrorCode::kResourceExhausted};
}

class Budget {
 public:
  explicit Budget(const TemplateLimits& limits) : limits_(limits) {}

  void step(uint64_t count = 1) {
    steps_ += count;
    if (steps_ > limits_.steps) {
      fail_limit("the template did not finish within " + std::to_string(limits_.steps) + " steps");
    }
  }
  // Work proportional to data: a step for every 2 KiB touched.
  void touch(uint64_t bytes) {
    if (bytes >= kBytesPerStep) step(bytes / kBytesPerStep);
  }
  // Refuses before the caller allocates `bytes`; nothing is recorded.
  void expect(uint64_t bytes) const {
    if (bytes > limits_.value_bytes || held_ > limits_.value_bytes - bytes) {
      fail_limit("the template's values need more than " + std::to_string(limits_.value_bytes) +
                 " bytes");
    }
  }
  void hold(uint64_t bytes) {
    expect(bytes);
    held_ += bytes;
    // Freed at once or not, building it was work; a refusal here must not leave it recorded.
    steps_ += bytes / kBytesPerStep;
  }
  void release(uint64_t bytes) noexcept { held_ -= bytes; }

  const TemplateLimits& limits() const { return limits_; }

 private:
  static constexpr uint64_t kBytesPerStep = 2048;
  TemplateLimits limits_;
  uint64_t steps_ = 0;
  uint64_t held_ = 0;
};

}  // namespace serval::chat
