// Errors and results of the public API. Standard library only.
//
// Who caused it decides the form (docs/architecture.md, "Errors"):
//   the caller  -> Result<T> holding an Error,
//   the world   -> an Error is thrown inside the library, and returned as a Result by Engine,
//   ourselves   -> SERVAL_CHECK ends the process; never reachable from bytes of a file or a socket.
#pragma once

#include <exception>
#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace serval {

enum class ErrorCode {
  kInvalidArgument,    // the caller asked for something that makes no sense
  kNotFound,           // no such file, model, tensor, key, request
  kUnsupported,        // well formed, but this build cannot do it
  kCorrupt,            // bytes that contradict their own format
  kIo,                 // the operating system refused a read or write, or a download broke
  kOutOfMemory,        // an allocation or a memory plan does not fit
  kResourceExhausted,  // a queue, pool or limit is full
  kCancelled,          // the caller or a signal stopped it
  kDeadline,           // it waited longer than it was allowed to
  kInternal,           // our own fault, contained to one request
};

// One line for people: what, where (file, offset, tensor, flag), what to do next.
class Error : public std::exception {
 public:
  // `param`: the field of the request that is at fault, if one is.
  Error(ErrorCode code, std::string message, std::string param = {})
      : code_(code), message_(std::move(message)), param_(std::move(param)) {}
  ErrorCode code() const noexcept { return code_; }
  const std::string& param() const noexcept { return param_; }
  const std::string& message() const noexcept { return message_; }
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  ErrorCode code_;
  std::string message_;
  std::string param_;
};

// Either a value or an Error. Reading the value of a failed Result throws its Error.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: implicit
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit

  bool ok() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return ok(); }

  T& value() & {
    require();
    return std::get<0>(state_);
  }
  const T& value() const& {
    require();
    return std::get<0>(state_);
  }
  T&& value() && {
    require();
    return std::get<0>(std::move(state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  // REQUIRES: !ok()
  const Error& error() const { return std::get<1>(state_); }

 private:
  void require() const {
    if (!ok()) throw std::get<1>(state_);
  }
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT: implicit
  bool ok() const noexcept { return !error_.has_value(); }
  explicit operator bool() const noexcept { return ok(); }
  void value() const {
    if (error_) throw *error_;
  }
  const Error& error() const { return *error_; }

 private:
  std::optional<Error> error_;
};

}  // namespace serval
