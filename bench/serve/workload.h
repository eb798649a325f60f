// What to ask, when: the lines of a data set turned into request bodies.
//
// A data set is one JSON object a line:
//   {"prompt": "..."}                      a completion
//   {"messages": [{"role", "content"}]}    a chat
//   {"session": "a", "user": "..."}        the next turn of conversation "a"; turns of one session
//                                          run in order, each with the real replies before it
// and, all optional:
//   "max_tokens": 64, "at": 1.5            seconds after the start; lines with "at" are a script
//   "hang_up_after_s": 0.3, "hang_up_after_tokens": 5
//   "label": "newcomer"                    figures are also given per label
//   "body": {...}                          further fields of the request
#pragma once

#include <boost/json.hpp>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace bench {

struct Line {
  std::string prompt, session, user, label;
  boost::json::array messages;  // empty: a completion of `prompt`
  std::optional<int> max_tokens, hang_up_after_tokens;
  std::optional<double> at, hang_up_after_s;
  boost::json::object body;

  bool chat() const { return !messages.empty() || !session.empty(); }
};

struct BodyDefaults {
  std::string model;
  int max_tokens = 128;
  double temperature = 0;
  bool ignore_eos = false, stream = true;
  boost::json::object extra;
};

// Throws std::runtime_error naming the line.
std::vector<Line> read_lines(const std::string& path);

// One request, ready to be sent.
struct Job {
  size_t index = 0;  // position in the run, also of its result
  const Line* line = nullptr;
  bool chat = false;
  std::string body;
};

// Hands out jobs in the order of the data set, which begins anew when more are wanted than it has
// lines; holds back a session's turn until the turn before it has been answered.
class Workload {
 public:
  // `lines` outlives the workload. `count` 0: every line once.
  Workload(const std::vector<Line>& lines, size_t count, BodyDefaults defaults);

  size_t count() const { return count_; }
  bool scripted() const;
  // Empty when all have been handed out, or what is left waits for answers.
  std::optional<Job> next();
  bool exhausted() const { return next_ >= count_ && waiting_.empty(); }
  // The turn of `job` was answered by `text`, or failed: its session may go on.
  void answered(const Job& job, const std::string& text);

 private:
  struct Session {
    boost::json::array history;
    bool busy = false;
  };

  Job make_job(size_t index);
  bool blocked(const Line& line) const;

  const std::vector<Line>& lines_;
  size_t count_, next_ = 0;
  std::deque<size_t> waiting_;  // turns that came up while their session was busy
  BodyDefaults defaults_;
  std::map<std::string, Session> sessions_;
};

}  // namespace bench
