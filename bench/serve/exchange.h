// One request and its answer over one connection, with the moment every piece of text arrived.
#pragma once

#include <boost/asio.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/json.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace bench {

namespace asio = boost::asio;
using Clock = std::chrono::steady_clock;
using Tcp = asio::ip::tcp;

struct Ask {
  bool get = false;
  std::string target, body;
  std::optional<double> hang_up_after_s;
  std::optional<int> hang_up_after_tokens;  // pieces of text that have arrived
};

struct Result {
  size_t index = 0;
  std::string label;
  double start = 0, first = 0, last = 0, end = 0;  // seconds since the run began; first text, last
  std::vector<double> gaps;                        // between pieces of text, seconds
  int status = 0;
  int prompt_tokens = 0, completion_tokens = 0, cached_tokens = 0;
  int pieces = 0;
  bool complete = false;  // the answer's proper end was seen
  bool hung_up = false;   // by us, as planned
  std::string text, finish, error;
};

// What all exchanges of a run share. Outlives them.
struct Shared {
  asio::io_context io{1};
  Tcp::endpoint endpoint;
  std::string host, api_key;
  Clock::time_point begin = Clock::now();
  double timeout_s = 600;
  bool keep_alive = true;
  std::vector<std::unique_ptr<Tcp::socket>> idle;  // connections a later exchange may use

  double now() const { return std::chrono::duration<double>(Clock::now() - begin).count(); }
};

// Lives as long as its handlers do. Calls `done` exactly once.
class Exchange : public std::enable_shared_from_this<Exchange> {
 public:
  using Done = std::function<void(Result)>;

  Exchange(Shared& shared, Ask ask, Result result, Done done);
  void start();

 private:
  using Code = boost::system::error_code;
  using Parser = boost::beast::http::response_parser<boost::beast::http::string_body>;

  void connect();
  void send();
  void read();
  void on_read(Code code);
  bool parse();
  void take_body();
  void take_line(std::string_view line);
  void take_event(std::string_view data);
  void take_text(std::string_view text);
  void take_usage(const boost::json::object& reply);
  void take_whole_reply();
  bool lost_idle_connection(Code code) const;
  void hang_up();
  void finish();
  void fail(std::string what);

  Shared& shared_;
  Ask ask_;
  Result result_;
  Done done_;
  std::unique_ptr<Tcp::socket> socket_;
  asio::steady_timer limit_, hang_up_timer_;
  boost::beast::flat_buffer buffer_;
  std::optional<Parser> parser_;
  std::string request_, pending_, event_;
  bool reused_ = false, stream_ = false, ended_ = false;
};

}  // namespace bench
