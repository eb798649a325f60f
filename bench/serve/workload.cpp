#include "serve/workload.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <stdexcept>
#include <utility>

namespace bench {
namespace {

namespace json = boost::json;

std::string text_field(const json::object& object, const char* name) {
  const json::value* value = object.if_contains(name);
  return value != nullptr ? json::value_to<std::string>(*value) : std::string();
}

template <typename T>
std::optional<T> number_field(const json::object& object, const char* name) {
  const json::value* value = object.if_contains(name);
  if (value == nullptr) return std::nullopt;
  return value->to_number<T>();
}

Line read_line(const json::object& object) {
  Line line;
  line.prompt = text_field(object, "prompt");
  line.session = text_field(object, "session");
  line.user = text_field(object, "user");
  line.label = text_field(object, "label");
  if (const json::value* messages = object.if_contains("messages")) {
    line.messages = messages->as_array();
  }
  line.max_tokens = number_field<int>(object, "max_tokens");
  line.hang_up_after_tokens = number_field<int>(object, "hang_up_after_tokens");
  line.at = number_field<double>(object, "at");
  line.hang_up_after_s = number_field<double>(object, "hang_up_after_s");
  if (const json::value* body = object.if_contains("body")) line.body = body->as_object();
  return line;
}

json::object message(std::string_view role, std::string_view content) {
  return {{"role", role}, {"content", content}};
}

}  // namespace

std::vector<Line> read_lines(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot open " + path);
  std::vector<Line> lines;
  std::string text;
  for (int number = 1; std::getline(file, text); ++number) {
    if (text.empty()) continue;
    try {
      lines.push_back(read_line(json::parse(text).as_object()));
    } catch (const std::exception& error) {
      throw std::runtime_error(fmt::format("{}:{}: {}", path, number, error.what()));
    }
  }
  if (lines.empty()) throw std::runtime_error(path + ": holds no line");
  return lines;
}

Workload::Workload(const std::vector<Line>& lines, size_t count, BodyDefaults defaults)
    : lines_(lines), count_(count == 0 ? lines.size() : count), defaults_(std::move(defaults)) {}

bool Workload::scripted() const {
  return std::any_of(lines_.begin(), lines_.end(), [](const Line& l) { return l.at.has_value(); });
}

bool Workload::blocked(const Line& line) const {
  if (line.session.empty()) return false;
  const auto found = sessions_.find(line.session);
  return found != sessions_.end() && found->second.busy;
}

std::optional<Job> Workload::next() {
  for (auto it = waiting_.begin(); it != waiting_.end(); ++it) {
    const size_t index = *it;
    if (blocked(lines_[index % lines_.size()])) continue;
    waiting_.erase(it);
    return make_job(index);
  }
  while (next_ < count_) {
    const size_t index = next_++;
    if (!blocked(lines_[index % lines_.size()])) return make_job(index);
    waiting_.push_back(index);
  }
  return std::nullopt;
}

Job Workload::make_job(size_t index) {
  const Line& line = lines_[index % lines_.size()];
  json::object body;
  if (!defaults_.model.empty()) body["model"] = defaults_.model;
  if (!line.session.empty()) {
    Session& session = sessions_[line.session];
    session.busy = true;
    session.history.push_back(message("user", line.user));
    body["messages"] = session.history;
  } else if (line.chat()) {
    body["messages"] = line.messages;
  } else {
    body["prompt"] = line.prompt;
  }
  body["max_tokens"] = line.max_tokens.value_or(defaults_.max_tokens);
  body["temperature"] = defaults_.temperature;
  if (defaults_.ignore_eos) body["ignore_eos"] = true;
  if (defaults_.stream) {
    body["stream"] = true;
    body["stream_options"] = {{"include_usage", true}};
  }
  for (const json::object* extra :
       std::initializer_list<const json::object*>{&defaults_.extra, &line.body}) {
    for (const auto& field : *extra) body[field.key()] = field.value();
  }
  return {index, &line, line.chat(), json::serialize(body)};
}

void Workload::answered(const Job& job, const std::string& text) {
  if (job.line->session.empty()) return;
  Session& session = sessions_[job.line->session];
  session.history.push_back(message("assistant", text));
  session.busy = false;
}

}  // namespace bench
