// The bytes of request bodies, charged to one budget for all connections while they are in memory.
#pragma once

#include <atomic>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/optional/optional.hpp>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>

namespace serval {

// One body's part of `used`, given back on destruction. Thread-safe as long as one thread at a time
// has the charge.
class BodyCharge {
 public:
  BodyCharge() = default;
  BodyCharge(std::atomic<size_t>& used, size_t limit) : used_(&used), limit_(limit) {}
  BodyCharge(BodyCharge&& other) noexcept
      : used_(other.used_), limit_(other.limit_), bytes_(std::exchange(other.bytes_, 0)) {}
  BodyCharge& operator=(BodyCharge&& other) noexcept {
    release();
    used_ = other.used_;
    limit_ = other.limit_;
    bytes_ = std::exchange(other.bytes_, 0);
    return *this;
  }
  ~BodyCharge() { release(); }

  // False, and nothing taken, when all bodies together would pass the limit.
  bool grow(size_t bytes) {
    if (used_ == nullptr) return true;
    if (used_->fetch_add(bytes) + bytes > limit_) {
      *used_ -= bytes;
      return false;
    }
    bytes_ += bytes;
    return true;
  }
  void release() {
    if (used_ != nullptr) *used_ -= std::exchange(bytes_, 0);
  }

 private:
  std::atomic<size_t>* used_ = nullptr;
  size_t limit_ = std::numeric_limits<size_t>::max();
  size_t bytes_ = 0;
};

// A body type for Beast's parser. Unlike its own string_body it allocates for the bytes that came,
// not for the length that was declared.
struct ChargedBody {
  struct value_type {  // NOLINT(readability-identifier-naming): Beast looks for these names
    std::string bytes;
    BodyCharge charge;
  };

  class reader {  // NOLINT(readability-identifier-naming)
   public:
    template <bool is_request, typename Fields>
    reader(boost::beast::http::header<is_request, Fields>&, value_type& body) : body_(body) {}

    void init(const boost::optional<uint64_t>&, boost::system::error_code& error) { error = {}; }

    template <typename Buffers>
    size_t put(const Buffers& buffers, boost::system::error_code& error) {
      const size_t size = boost::asio::buffer_size(buffers);
      error = {};
      if (!body_.charge.grow(size)) {
        error = boost::system::errc::make_error_code(boost::system::errc::not_enough_memory);
        return 0;
      }
      const size_t before = body_.bytes.size();
      body_.bytes.resize(before + size);
      boost::asio::buffer_copy(boost::asio::buffer(body_.bytes.data() + before, size), buffers);
      return size;
    }

    void finish(boost::system::error_code& error) { error = {}; }

   private:
    value_type& body_;
  };
};

}  // namespace serval
