// The methods of str. Positions count code points. Pieces keep the trust of where they came from; a
// number computed from a text (find, count) is trusted only if the whole text is.
#include <algorithm>

#include "text/chat/runtime.h"
#include "text/chat/unicode.h"

namespace serval::chat {
namespace {

constexpr size_t kNpos = std::string_view::npos;

bool space_at(std::string_view text, size_t at) { return is_space(decode_at(text, at)); }

Value piece(Runtime& runtime, const MarkedText& text, size_t begin, size_t end) {
  runtime.budget.step();
  return runtime.string(text.slice(begin, end));
}

template <Case kCase>
Value cased(Runtime& runtime, const Value& self, const Args& args) {
  const Bound bound("str", args, {});
  runtime.budget.step(self.text().size() / 256);
  return runtime.string(to_case(self.text(), kCase));
}

template <MarkedText (*kFunction)(const MarkedText&)>
Value mapped(Runtime& runtime, const Value& self, const Args& args) {
  const Bound bound("str", args, {});
  runtime.budget.step(self.text().size() / 256);
  return runtime.string(kFunction(self.text()));
}

template <bool kLeft, bool kRight>
Value strip(Runtime& runtime, const Value& self, const Args& args) {
  const Bound bound("strip", args, {"chars"});
  const MarkedText& text = self.text();
  const bool spaces = !bound.has(0);
  const std::string_view chars = spaces ? std::string_view() : bound.text(0).view();
  runtime.budget.touch(text.size() * (1 + chars.size() / 8));
  const size_t begin = kLeft ? strip_start(text.view(), chars, spaces) : 0;
  const size_t end = kRight ? strip_end(text.view(), begin, chars, spaces) : text.size();
  return piece(runtime, text, begin, end);
}

Value split_spaces(Runtime& runtime, const MarkedText& text, int64_t limit) {
  std::vector<Value> out;
  const std::string_view bytes = text.view();
  size_t at = strip_start(bytes, {}, true);
  while (at < bytes.size()) {
    size_t end = at;
    if (limit >= 0 && static_cast<int64_t>(out.size()) >= limit) {
      out.push_back(piece(runtime, text, at, bytes.size()));
      break;
    }
    while (end < bytes.size() && !space_at(bytes, end)) end += char_bytes(bytes, end);
    out.push_back(piece(runtime, text, at, end));
    at = end + strip_start(bytes.substr(end), {}, true);
  }
  return runtime.list(std::move(out));
}

Value rsplit_spaces(Runtime& runtime, const MarkedText& text, int64_t limit) {
  std::vector<Value> out;
  const std::string_view bytes = text.view();
  size_t end = strip_end(bytes, 0, {}, true);
  while (end > 0) {
    if (limit >= 0 && static_cast<int64_t>(out.size()) >= limit) {
      out.push_back(piece(runtime, text, 0, end));
      break;
    }
    size_t begin = end;
    while (begin > 0 && !space_at(bytes, previous(bytes, begin))) begin = previous(bytes, begin);
    out.push_back(piece(runtime, text, begin, end));
    end = strip_end(bytes.substr(0, begin), 0, {}, true);
  }
  std::reverse(out.begin(), out.end());
  return runtime.list(std::move(out));
}

template <bool kFromRight>
Value split(Runtime& runtime, const Value& self, const Args& args) {
  const Bound bound("split", args, {"sep", "maxsplit"});
  const MarkedText& text = self.text();
  const int64_t limit = bound.integer(1, -1);
  runtime.budget.touch(text.size());
  if (!bound.has(0)) {
    return kFromRight ? rsplit_spaces(runtime, text, limit) : split_spaces(runtime, text, limit);
  }
  const std::string_view separator = bound.text(0).view();
  if (separator.empty()) fail("empty separator");
  std::vector<size_t> cuts;  // where separators begin
  std::string reversed;
  if (kFromRight) {
    // From the right the matches may lie differently: search the mirror image.
    reversed.assign(text.view().rbegin(), text.view().rend());
    const std::string mirror(separator.rbegin(), separator.rend());
    for (size_t at = 0; limit < 0 || static_cast<int64_t>(cuts.size()) < limit;) {
      const size_t found = find_text(reversed, mirror, at);
      if (found == kNpos) break;
      cuts.push_back(text.size() - found - separator.size());
      at = found + separator.size();
    }
    std::reverse(cuts.begin(), cuts.end());
  } else {
    for (size_t at = 0; limit < 0 || static_cast<int64_t>(cuts.size()) < limit;) {
      const size_t found = find_text(text.view(), separator, at);
      if (found == kNpos) break;
      cuts.push_back(found);
      at = found + separator.size();
    }
  }
  std::vector<Value> out;
  size_t begin = 0;
  for (const size_t cut : cuts) {
    out.push_back(piece(runtime, text, begin, cut));
    begin = cut + separator.size();
  }
  out.push_back(piece(runtime, text, begin, text.size()));
  return runtime.list(std::move(out));
}

Value split_lines(Runtime& runtime, const Value& self, const Args& args) {
  const Bound bound("splitlines", args, {"keepends"});
  const bool keep = bound.flag(0, false);
  const MarkedText& text = self.text();
  const std::string_view bytes = text.view();
  std::vector<Value> out;
  for (size_t at = 0; at < bytes.size();) {
    size_t end = at;
    while (end < bytes.size() && !is_line_break(decode_at(bytes, end))) {
      end += char_bytes(bytes, end);
    }
    size_t next = end;
    if (end < bytes.size()) {
      next += bytes.substr(end, 2) == "\r\n" ? 2 : char_bytes(bytes, end);
    }
    out.push_back(piece(runtime, text, at, keep ? next : end));
    at = next;
  }
  return runtime.list(std::move(out));
}

template <bool kFromRight>
Value partition(Runtime& runtime, const Value& self, const Args& args) {
  const Bound bound("partition", args, {"sep"}, 1);
  const MarkedText& text = self.text();
  const MarkedText& separator = bound.text(0);
  if (separator.empty()) fail("empty separator");
  runtime.budget.touch(text.size());
  const size_t at = kFromRight ? rfind_text(text.view(), separator.view())
                               : find_text(text.view(), separator.view());
  const Value none = runtime.string("", true);
  if (at == kNpos) {
    if (kFromRight) return runtime.tuple({none, none, self});
    return runtime.tuple({self, none, none});
  }
  return runtime.tuple({piece(runtime, text, 0, at), *bound[0],
                        piece(runtime, text, at + separator.size(), text.size())});
}

// The part of the text that optional start and end arguments select.
struct Window {
  size_t begin = 0, end = 0;
  int64_t first = 0;  // code point index of begin
  bool valid = true;
};

Window window(const String& text, const Bound& bound, size_t start_argument) {
  const auto clamp = [&](size_t i, int64_t fallback) {
    int64_t at = bound.has(i) ? bound.integer(i, 0) : fallback;
    if (at < 0) at = std::max<int64_t>(at + text.length, 0);
    return at;
  };
  const int64_t first = clamp(start_argument, 0);
  const int64_t last = std::min(clamp(start_argument + 1, text.length), text.length);
  Window out;
  out.valid = first <= last;
  if (!out.valid) return out;
  out.first = first;
  out.begin = byte_offset(text.text.view(), text.ascii(), first);
  out.end = byte_offset(text.text.view(), text.ascii(), last);
  return out;
}

template <bool kStart>
Value has_affix(Runtime& runtime, const Value& self, const Args& args) {
  const Bound bound("startswith", args, {"prefix", "start", "end"}, 1);
  const Window part = window(self.string(), bound, 1);
  std::vector<Value> choices;
  if (bound[0]->is(Type::kTuple)) {
    choices = bound[0]->list().items;
  } else {
    choices.push_back(*bound[0]);
  }
  bool found = false;
  const std::string_view text =
      part.valid ? self.text().view().substr(part.begin, part.end - part.begin) : "";
  for (const Value& choice : choices) {
    if (!choice.is(Type::kString)) {
      fail("startswith first arg must be str or a tuple of str, not " +
           std::string(type_name(choice)));
    }
    const std::string_view affix = choice.text().view();
    runtime.budget.touch(affix.size());
    if (!part.valid || affix.size() > text.size()) continue;
    const size_t at = kStart ? 0 : text.size() - affix.size();
    found = found || text.substr(at, affix.size()) == affix;
  }
  return bool_value(found, all_trusted(self));
}

std::optional<int64_t> search(Runtime& runtime, const Value& self, const Bound& bound, bool last) {
  const Window part = window(self.string(), bound, 1);
  if (!part.valid) return std::nullopt;
  const std::string_view text = self.text().view().substr(part.begin, part.end - part.begin);
  const std::string_view what = bound.text(0).view();
  runtime.budget.touch(text.size());
  const size_t at = last ? rfind_text(text, what) : find_text(text, what);
  if (at == kNpos) return std::nullopt;
  return part.first +
         (self.string().ascii() ? static_cast<int64_t>(at) : count_chars(text.substr(0, at)));
}

template <bool kLast, bool kStrict>
Value find(Runtime& runtime, const Value& self, const Args& args) {
  const Bound bound("find", args, {"sub", "start", "end"}, 1);
  const auto at = search(runtime, self, bound, kLast);
  if (!at && kStrict) fail("substring not found");
  return int_value(at.value_or(-1), all_trusted(self));
}

Value count(Runtime& runtime, const Value& self, const Args& args) {
  const Bound bound("count", args, {"sub", "start", "end"}, 1);
  const Window part = window(self.string(), bound, 1);
  const std::string_view what = bound.text(0).view();
  int64_t found = 0;
  if (part.valid) {
    const std::string_view text = self.text().view().substr(part.begin, part.end - part.begin);
    runtime.budget.touch(text.size());
    if (what.empty()) {
      found = count_chars(text) + 1;
    } else {
      for (size_t at = 0; (at = find_text(text, what, at)) != kNpos; at += what.size()) ++found;
    }
  }
  return int_value(found, all_trusted(self));
}

Value replace(Runtime& runtime, const Value& self, const Args& args) {
  const Bound bound("replace", args, {"old", "new", "count"}, 2);
  bound.text(0);
  bound.text(1);
  return runtime.string(replace_text(runtime, self.text(), bound.text(0).view(), bound.text(1),
                                     bound.integer(2, -1)));
}

Value join(Runtime& runtime, const Value& self, const Args& args) {
  const Bound bound("join", args, {"iterable"}, 1);
  MarkedText out;
  bool first = true;
  for (const Value& item : runtime.iterate(*bound[0])) {
    if (!item.is(Type::kString)) {
      fail("sequence item: expected str instance, " + std::string(type_name(item)) + " found");
    }
    runtime.budget.step();
    runtime.budget.expect(out.size() + item.text().size());
    if (!first) out.append(self.text());
    first = false;
    out.append(item.text());
  }
  return runtime.string(std::move(out));
}

Value format(Runtime& runtime, const Value& self, const Args& args) {
  return runtime.string(format_braces(runtime, self.text(), args));
}

// The fill character of center, ljust and rjust, and how much of it is missing.
struct Fill {
  Fill(Runtime& runtime, const Value& self, const Args& args) : unit(" ", true) {
    const Bound bound("justify", args, {"width", "fillchar"}, 1);
    if (bound[1]) unit = bound.text(1);
    if (count_chars(unit.view()) != 1) {
      fail("The fill character must be exactly one character long");
    }
    width = bound.integer(0, 0);
    missing = width > self.string().length ? width - self.string().length : 0;
    runtime.budget.expect(static_cast<uint64_t>(missing) < UINT32_MAX
                              ? static_cast<uint64_t>(missing) * unit.size()
                              : UINT64_MAX);
  }
  void put(MarkedText& out, int64_t times) const {
    for (int64_t i = 0; i < times; ++i) out.append(unit);
  }
  MarkedText unit;
  int64_t width = 0, missing = 0;
};

Value center(Runtime& runtime, const Value& self, const Args& args) {
  const Fill fill(runtime, self, args);
  // Python's rule for an odd rest: the left side gets it when the width is odd too.
  const int64_t left = fill.missing / 2 + (fill.missing & fill.width & 1);
  MarkedText out;
  fill.put(out, left);
  out.append(self.text());
  fill.put(out, fill.missing - left);
  return runtime.string(std::move(out));
}

template <bool kLeft>
Value justify(Runtime& runtime, const Value& self, const Args& args) {
  const Fill fill(runtime, self, args);
  MarkedText out;
  if (!kLeft) fill.put(out, fill.missing);
  out.append(self.text());
  if (kLeft) fill.put(out, fill.missing);
  return runtime.string(std::move(out));
}

Value zfill(Runtime& runtime, const Value& self, const Args& args) {
  Args with = args;
  with.positional.push_back(runtime.string("0", true));
  const Fill fill(runtime, self, with);
  const MarkedText& text = self.text();
  const bool sign = !text.empty() && (text.bytes()[0] == '+' || text.bytes()[0] == '-');
  MarkedText out;
  if (sign) out.append(text, 0, 1);
  fill.put(out, fill.missing);
  out.append(text, sign ? 1 : 0, text.size());
  return runtime.string(std::move(out));
}

template <bool kPrefix>
Value remove_affix(Runtime& runtime, const Value& self, const Args& args) {
  const Bound bound("removeprefix", args, {"prefix"}, 1);
  const std::string_view text = self.text().view();
  const std::string_view affix = bound.text(0).view();
  if (affix.size() > text.size()) return self;
  const size_t at = kPrefix ? 0 : text.size() - affix.size();
  if (text.substr(at, affix.size()) != affix) return self;
  return kPrefix ? piece(runtime, self.text(), affix.size(), text.size())
                 : piece(runtime, self.text(), 0, at);
}

Value expand_tabs(Runtime& runtime, const Value& self, const Args& args) {
  const Bound bound("expandtabs", args, {"tabsize"});
  const int64_t size = std::clamp<int64_t>(bound.integer(0, 8), 0, 1024);
  const MarkedText& text = self.text();
  MarkedText out;
  int64_t column = 0;
  for (size_t i = 0; i < text.size();) {
    const size_t n = char_bytes(text.view(), i);
    const char c = text.bytes()[i];
    if (c == '\t') {
      const int64_t fill = size > 0 ? size - column % size : 0;
      out.append(std::string(static_cast<size_t>(fill), ' '), text.trusted_at(i));
      column += fill;
      runtime.budget.expect(out.size());
    } else {
      out.append(text, i, i + n);
      column = c == '\n' || c == '\r' ? 0 : column + 1;
    }
    i += n;
  }
  return runtime.string(std::move(out));
}

}  // namespace

MarkedText replace_text(Runtime& runtime, const MarkedText& text, std::string_view old,
                        const MarkedText& with, int64_t count) {
  const std::string_view bytes = text.view();
  runtime.budget.touch(bytes.size());
  MarkedText out;
  size_t copied = 0;
  size_t at = 0;
  for (; count != 0; --count) {
    const size_t found = find_text(bytes, old, at);
    if (found == kNpos) break;
    out.append(text, copied, found);
    out.append(with);
    runtime.budget.expect(out.size());
    copied = at = found + old.size();
    if (old.empty()) {
      // Between all characters, once at the end.
      if (at >= bytes.size()) break;
      at += char_bytes(bytes, at);
    }
  }
  out.append(text, copied, bytes.size());
  return out;
}

const std::vector<MethodEntry>& string_methods() {
  static const std::vector<MethodEntry> kMethods = {
      {"capitalize", mapped<capitalize>},
      {"casefold", cased<Case::kLower>},
      {"center", center},
      {"count", count},
      {"endswith", has_affix<false>},
      {"expandtabs", expand_tabs},
      {"find", find<false, false>},
      {"format", format},
      {"index", find<false, true>},
      {"join", join},
      {"ljust", justify<true>},
      {"lower", cased<Case::kLower>},
      {"lstrip", strip<true, false>},
      {"partition", partition<false>},
      {"removeprefix", remove_affix<true>},
      {"removesuffix", remove_affix<false>},
      {"replace", replace},
      {"rfind", find<true, false>},
      {"rindex", find<true, true>},
      {"rjust", justify<false>},
      {"rpartition", partition<true>},
      {"rsplit", split<true>},
      {"rstrip", strip<false, true>},
      {"split", split<false>},
      {"splitlines", split_lines},
      {"startswith", has_affix<true>},
      {"strip", strip<true, true>},
      {"swapcase", mapped<swap_case>},
      {"title", mapped<title>},
      {"upper", cased<Case::kUpper>},
      {"zfill", zfill},
  };
  return kMethods;
}

}  // namespace serval::chat
