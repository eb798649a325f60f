// Filters for markup: rare in chat templates, cheap to have.
#include <algorithm>

#include "text/chat/runtime.h"
#include "text/chat/unicode.h"

namespace serval::chat {
namespace {

MarkedText escaped(Runtime& runtime, const MarkedText& text) {
  MarkedText out;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text.bytes()[i];
    const char* with = c == '&'    ? "&amp;"
                       : c == '<'  ? "&lt;"
                       : c == '>'  ? "&gt;"
                       : c == '\'' ? "&#39;"
                       : c == '"'  ? "&#34;"
                                   : nullptr;
    if (with) {
      out.append(with, text.trusted_at(i));
    } else {
      out.append(text, i, i + 1);
    }
  }
  runtime.budget.touch(out.size());
  runtime.budget.expect(out.size());
  return out;
}

Value markup(Runtime& runtime, MarkedText text) {
  return string_value(&runtime.budget, std::move(text), true);
}

Value escape(Runtime& runtime, const Value& subject, const Args& args) {
  const Bound bound("escape", args, {});
  if (subject.is(Type::kString) && subject.string().markup) return subject;
  return markup(runtime, escaped(runtime, runtime.text_of(subject)));
}

Value force_escape(Runtime& runtime, const Value& subject, const Args& args) {
  const Bound bound("forceescape", args, {});
  return markup(runtime, escaped(runtime, runtime.text_of(subject)));
}

Value safe(Runtime& runtime, const Value& subject, const Args& args) {
  const Bound bound("safe", args, {});
  return markup(runtime, runtime.text_of(subject));
}

void quote_url(MarkedText& out, const MarkedText& text, bool query) {
  static const char* const kHex = "0123456789ABCDEF";
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text.bytes()[i]);
    const bool plain =
        std::isalnum(c) || c == '_' || c == '.' || c == '-' || c == '~' || (c == '/' && !query);
    if (plain) {
      out.append(text, i, i + 1);
    } else if (c == ' ' && query) {
      out.append("+", text.trusted_at(i));
    } else {
      const char code[] = {'%', kHex[c >> 4], kHex[c & 15]};
      out.append(std::string_view(code, 3), text.trusted_at(i));
    }
  }
}

Value urlencode(Runtime& runtime, const Value& subject, const Args& args) {
  const Bound bound("urlencode", args, {});
  MarkedText out;
  const bool plain = subject.is(Type::kString) || subject.is_number() || subject.is(Type::kNone) ||
                     subject.is(Type::kObject);
  if (plain) {
    quote_url(out, runtime.text_of(subject), false);
    return runtime.string(std::move(out));
  }
  std::vector<Value> pairs;
  if (subject.is(Type::kDict)) {
    for (const auto& [key, value] : subject.dict().entries) {
      pairs.push_back(runtime.tuple({key, value}));
    }
  } else {
    pairs = runtime.iterate(subject);
  }
  for (const Value& pair : pairs) {
    const std::vector<Value> two = runtime.iterate(pair);
    if (two.size() != 2) fail("urlencode needs pairs");
    if (!out.empty()) out.append("&", true);
    quote_url(out, runtime.text_of(two[0]), true);
    out.append("=", true);
    quote_url(out, runtime.text_of(two[1]), true);
    runtime.budget.expect(out.size());
  }
  return runtime.string(std::move(out));
}

Value xmlattr(Runtime& runtime, const Value& subject, const Args& args) {
  const Bound bound("xmlattr", args, {"autospace"});
  if (!subject.is(Type::kDict)) fail("xmlattr needs a mapping");
  MarkedText out;
  for (const auto& [key, value] : subject.dict().entries) {
    if (value.is(Type::kNone) || value.is(Type::kUndefined)) continue;
    if (!key.is(Type::kString)) fail("expected string or bytes-like object");
    if (key.text().view().find_first_of(" \t\n\r\f\v/>=") != std::string_view::npos) {
      fail("Invalid character in attribute name");
    }
    if (!out.empty() || bound.flag(0, true)) out.append(" ", true);
    out.append(escaped(runtime, key.text()));
    out.append("=\"", true);
    const bool done = value.is(Type::kString) && value.string().markup;
    out.append(done ? value.text() : escaped(runtime, runtime.text_of(value)));
    out.append("\"", true);
    runtime.budget.expect(out.size());
  }
  return runtime.string(std::move(out));
}

}  // namespace

const std::vector<FilterEntry>& html_filters() {
  static const std::vector<FilterEntry> kFilters = {
      {"e", escape},  {"escape", escape},       {"forceescape", force_escape},
      {"safe", safe}, {"urlencode", urlencode}, {"xmlattr", xmlattr},
  };
  return kFilters;
}

}  // namespace serval::chat
