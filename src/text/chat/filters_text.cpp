// Filters that work on text. Like Jinja, most first take the printed form of their subject.
#include <algorithm>

#include "text/chat/runtime.h"
#include "text/chat/unicode.h"

namespace serval::chat {
namespace {

// Runs a method of str on the printed subject.
template <size_t kSize>
Value method(Runtime& runtime, const char (&name)[kSize], const Value& subject, const Args& args) {
  const Value text = subject.is(Type::kString) ? subject : runtime.string(runtime.text_of(subject));
  return find_method(Type::kString, name)->function(runtime, text, args);
}

Value upper(Runtime& runtime, const Value& subject, const Args& args) {
  const Bound bound("upper", args, {});
  return method(runtime, "upper", subject, args);
}
Value lower(Runtime& runtime, const Value& subject, const Args& args) {
  const Bound bound("lower", args, {});
  return method(runtime, "lower", subject, args);
}
Value capitalize_filter(Runtime& runtime, const Value& subject, const Args& args) {
  const Bound bound("capitalize", args, {});
  return method(runtime, "capitalize", subject, args);
}

// Upper case after blanks, hyphens and opening brackets; lower case elsewhere.
Value title_filter(Runtime& runtime, const Value& subject, const Args& args) {
  const Bound bound("title", args, {});
  const MarkedText text = runtime.text_of(subject);
  runtime.budget.step(text.size() / 256);
  const auto separates = [](char32_t c) {
    return c == '-' || c == '(' || c == '{' || c == '[' || c == '<' || is_space(c);
  };
  MarkedText out;
  for (size_t i = 0; i < text.size();) {
    size_t end = i;
    while (end < text.size() && !separates(decode_at(text.view(), end))) {
      end += char_bytes(text.view(), end);
    }
    if (end > i) {
      const size_t first = i + char_bytes(text.view(), i);
      out.append(to_case(text.slice(i, first), Case::kUpper));
      out.append(to_case(text.slice(first, end), Case::kLower));
      i = end;
    }
    if (i < text.size()) {
      const size_t n = char_bytes(text.view(), i);
      out.append(text, i, i + n);
      i += n;
    }
  }
  return runtime.string(std::move(out));
}

Value trim(Runtime& runtime, const Value& subject, const Args& args) {
  const Bound bound("trim", args, {"chars"});
  Args plain;
  if (bound[0]) plain.positional.push_back(*bound[0]);
  return method(runtime, "strip", subject, plain);
}

Value replace(Runtime& runtime, const Value& subject, const Args& args) {
  const Bound bound("replace", args, {"old", "new", "count"}, 2);
  const MarkedText old = runtime.text_of(*bound[0]);
  const MarkedText with = runtime.text_of(*bound[1]);
  return runtime.string(replace_text(runtime, runtime.text_of(subject), old.view(), with,
                                     bound.has(2) ? bound.integer(2, -1) : -1));
}

Value center(Runtime& runtime, const Value& subject, const Args& args) {
  const Bound bound("center", args, {"width"});
  Args plain;
  plain.positional.push_back(bound[0] ? *bound[0] : int_value(80));
  return method(runtime, "center", subject, plain);
}

Value string_filter(Runtime& runtime, const Value& subject, const Args& args) {
  const Bound bound("string", args, {});
  return subject.is(Type::kString) ? subject : runtime.string(runtime.text_of(subject));
}

Value format_filter(Runtime& runtime, const Value& subject, const Args& args) {
  if (!args.positional.empty() && !args.keyword.empty()) {
    fail("can't handle positional and keyword arguments at the same time");
  }
  Value values = runtime.tuple(args.positional);
  if (!args.keyword.empty()) {
    auto dict = std::make_shared<Dict>(&runtime.budget);
    for (const auto& [key, value] : args.keyword) dict->set(key, value);
    values.type = Type::kDict;
    values.object = std::move(dict);
  }
  return runtime.string(format_percent(runtime, runtime.text_of(subject), values));
}

std::vector<Value> lines_of(Runtime& runtime, const Value& text) {
  return find_method(Type::kString, "splitlines")->function(runtime, text, {}).list().items;
}

const Value& require_string(const char* who, const Value& subject) {
  if (!subject.is(Type::kString)) {
    if (subject.is(Type::kUndefined)) {
      fail(subject.object ? subject.text().bytes() : "the value is undefined");
    }
    fail(std::string(who) + " needs a string, not " + type_name(subject));
  }
  return subject;
}

Value indent(Runtime& runtime, const Value& subject, const Args& args) {
  const Bound bound("indent", args, {"width", "first", "blank"});
  const bool first = bound.flag(1, false);
  const bool blank = bound.flag(2, false);
  MarkedText margin(std::string(4, ' '), true);
  if (bound[0] && bound[0]->is(Type::kString)) {
    margin = bound[0]->text();
  } else if (bound[0]) {
    const int64_t width = std::max<int64_t>(bound.integer(0, 4), 0);
    runtime.budget.expect(static_cast<uint64_t>(width));
    margin = MarkedText(std::string(static_cast<size_t>(width), ' '), true);
  }
  MarkedText with_end = require_string("indent", subject).text();
  with_end.append("\n", true);
  const std::vector<Value> lines = lines_of(runtime, runtime.string(std::move(with_end)));
  MarkedText out;
  if (first) out.append(margin);
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i) out.append("\n", true);
    if (i && (blank || !lines[i].text().empty())) out.append(margin);
    out.append(lines[i].text());
    runtime.budget.expect(out.size());
  }
  return runtime.string(std::move(out));
}

Value truncate(Runtime& runtime, const Value& subject, const Args& args) {
  const Bound bound("truncate", args, {"length", "killwords", "end", "leeway"});
  const int64_t length = bound.integer(0, 255);
  const MarkedText end = bound[2] ? bound.text(2) : MarkedText("...", true);
  const int64_t end_length = count_chars(end.view());
  const int64_t leeway = bound.has(3) ? bound.integer(3, 5) : 5;
  if (length < end_length) {
    fail("expected length >= " + std::to_string(end_length) + ", got " + std::to_string(length));
  }
  if (leeway < 0) fail("expected leeway >= 0, got " + std::to_string(leeway));
  const String& text = require_string("truncate", subject).string();
  if (text.length - leeway <= length) return subject;
  size_t cut = byte_offset(text.text.view(), text.ascii(), length - end_length);
  if (!bound.flag(1, false)) {
    const size_t space = text.text.view().substr(0, cut).rfind(' ');
    if (space != std::string_view::npos) cut = space;
  }
  MarkedText out = text.text.slice(0, cut);
  out.append(end);
  return runtime.string(std::move(out));
}

// The pieces textwrap would break a line into: runs of blanks, and words, which may end behind a
// hyphen between letters.
std::vector<std::pair<size_t, size_t>> wrap_chunks(std::string_view line, bool hyphens) {
  const auto blank = [&](size_t i) { return line[i] == ' ' || (line[i] >= 9 && line[i] <= 13); };
  std::vector<std::pair<size_t, size_t>> out;
  for (size_t at = 0; at < line.size();) {
    size_t end = at;
    while (end < line.size() && blank(end) == blank(at)) ++end;
    size_t begin = at;
    for (size_t i = at + 1; hyphens && !blank(at) && i + 1 < end; ++i) {
      const bool letters = i >= begin + 2 && is_alpha(decode_at(line, previous(line, i))) &&
                           is_alpha(decode_at(line, previous(line, previous(line, i)))) &&
                           is_alpha(decode_at(line, i + 1)) && i + 2 < end &&
                           is_alpha(decode_at(line, i + 1 + char_bytes(line, i + 1)));
      if (line[i] != '-' || !letters) continue;
      out.emplace_back(begin, i + 1);
      begin = i + 1;
    }
    out.emplace_back(begin, end);
    at = end;
  }
  return out;
}

void wrap_line(Runtime& runtime, MarkedText& out, const MarkedText& line, int64_t width,
               bool break_long, bool hyphens, const MarkedText& separator) {
  auto chunks = wrap_chunks(line.view(), hyphens);
  std::reverse(chunks.begin(), chunks.end());
  bool first_line = true;
  const auto length = [&](const std::pair<size_t, size_t>& chunk) {
    return count_chars(line.view().substr(chunk.first, chunk.second - chunk.first));
  };
  const auto blank = [&](const std::pair<size_t, size_t>& chunk) {
    return strip_start(line.view().substr(chunk.first, chunk.second - chunk.first), {}, true) ==
           chunk.second - chunk.first;
  };
  while (!chunks.empty()) {
    runtime.budget.step();
    std::vector<std::pair<size_t, size_t>> current;
    int64_t used = 0;
    if (!first_line && blank(chunks.back())) chunks.pop_back();
    while (!chunks.empty() && used + length(chunks.back()) <= width) {
      used += length(chunks.back());
      current.push_back(chunks.back());
      chunks.pop_back();
    }
    if (!chunks.empty() && length(chunks.back()) > width) {
      auto& chunk = chunks.back();
      if (break_long) {
        const int64_t room = std::max<int64_t>(width - used, width < 1 ? 1 : 0);
        const size_t cut = chunk.first + byte_offset(line.view().substr(chunk.first), false, room);
        if (cut > chunk.first) current.emplace_back(chunk.first, cut);
        chunk.first = cut;
      } else if (current.empty()) {
        current.push_back(chunk);
        chunks.pop_back();
      }
    }
    if (!current.empty() && blank(current.back())) current.pop_back();
    if (current.empty()) continue;
    if (!first_line) out.append(separator);
    first_line = false;
    for (const auto& [begin, end] : current) out.append(line, begin, end);
    runtime.budget.expect(out.size());
  }
}

Value wordwrap(Runtime& runtime, const Value& subject, const Args& args) {
  const Bound bound("wordwrap", args,
                    {"width", "break_long_words", "wrapstring", "break_on_hyphens"});
  const int64_t width = bound.integer(0, 79);
  if (width <= 0) fail("invalid width " + std::to_string(width) + " (must be > 0)");
  const MarkedText separator = bound.has(2) ? bound.text(2) : MarkedText("\n", true);
  MarkedText out;
  bool first = true;
  for (const Value& line : lines_of(runtime, require_string("wordwrap", subject))) {
    if (!first) out.append(separator);
    first = false;
    wrap_line(runtime, out, line.text(), width, bound.flag(1, true), bound.flag(3, true),
              separator);
  }
  return runtime.string(std::move(out));
}

Value wordcount(Runtime& runtime, const Value& subject, const Args& args) {
  const Bound bound("wordcount", args, {});
  const MarkedText text = runtime.text_of(subject);
  runtime.budget.touch(text.size() * 8);
  int64_t words = 0;
  bool inside = false;
  for (size_t i = 0; i < text.size(); i += char_bytes(text.view(), i)) {
    const char32_t c = decode_at(text.view(), i);
    const bool word = c == '_' || is_alnum(c);
    if (word && !inside) ++words;
    inside = word;
  }
  return int_value(words, text.all_trusted());
}

Value tojson(Runtime& runtime, const Value& subject, const Args& args) {
  MarkedText out;
  write_json(runtime, out, subject, args);
  return runtime.string(std::move(out));
}

}  // namespace

const std::vector<FilterEntry>& text_filters() {
  static const std::vector<FilterEntry> kFilters = {
      {"capitalize", capitalize_filter},
      {"center", center},
      {"format", format_filter},
      {"indent", indent},
      {"lower", lower},
      {"replace", replace},
      {"string", string_filter},
      {"title", title_filter},
      {"tojson", tojson},
      {"trim", trim},
      {"truncate", truncate},
      {"upper", upper},
      {"wordcount", wordcount},
      {"wordwrap", wordwrap},
  };
  return kFilters;
}

}  // namespace serval::chat
