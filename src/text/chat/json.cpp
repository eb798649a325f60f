// The filter tojson as `transformers` defines it: json.dumps with ensure_ascii, indent, separators
// and sort_keys, and without the HTML escaping of Jinja's own. Reference: Python's json module.
#include <algorithm>
#include <cmath>

#include "text/chat/runtime.h"
#include "text/chat/unicode.h"

namespace serval::chat {
namespace {

class JsonWriter {
 public:
  JsonWriter(Runtime& runtime, MarkedText& out, const Args& options)
      : runtime_(runtime), out_(out) {
    const Bound bound("tojson", options, {"ensure_ascii", "indent", "separators", "sort_keys"});
    ensure_ascii_ = bound.flag(0, false);
    sort_keys_ = bound.flag(3, false);
    if (bound.has(1)) {
      indented_ = true;
      item_ = MarkedText(",", true);
      if (bound[1]->is(Type::kString)) {
        unit_ = bound[1]->text();
      } else {
        const int64_t width = std::clamp<int64_t>(bound.integer(1, 0), 0, 1024);
        unit_ = MarkedText(std::string(static_cast<size_t>(width), ' '), true);
      }
    }
    if (bound.has(2)) {
      const std::vector<Value> pair = runtime.iterate(*bound[2]);
      if (pair.size() != 2 || !pair[0].is(Type::kString) || !pair[1].is(Type::kString)) {
        fail("tojson() separators must be a pair of strings");
      }
      item_ = pair[0].text();
      key_ = pair[1].text();
    }
  }

  void write(const Value& value, int level) {
    runtime_.budget.step();
    runtime_.budget.expect(out_.size());
    switch (value.type) {
      case Type::kNone:
        return out_.append("null", value.trusted);
      case Type::kBool:
        return out_.append(value.boolean ? "true" : "false", value.trusted);
      case Type::kInt:
        return out_.append(std::to_string(value.integer), value.trusted);
      case Type::kFloat:
        return out_.append(number(value.number), value.trusted);
      case Type::kString:
        return quote(value.text());
      case Type::kList:
      case Type::kTuple:
        return write_list(value, level);
      case Type::kDict:
        return write_dict(value, level);
      default:
        fail("Object of type " + std::string(type_name(value)) + " is not JSON serializable");
    }
  }

 private:
  static std::string number(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    return float_repr(value);
  }

  // What stands between the parts of outside data is no more trusted than the data.
  void punctuate(const MarkedText& mark, bool trusted) {
    if (trusted) return out_.append(mark);
    out_.append(mark.view(), false);
  }

  void line(int level, bool trusted) {
    if (!indented_) return;
    out_.append("\n", trusted);
    for (int i = 0; i < level; ++i) punctuate(unit_, trusted);
  }

  void write_list(const Value& value, int level) {
    const auto& items = value.list().items;
    out_.append(items.empty() ? "[]" : "[", value.trusted);
    for (size_t i = 0; i < items.size(); ++i) {
      if (i) punctuate(item_, value.trusted);
      line(level + 1, value.trusted);
      write(items[i], level + 1);
    }
    if (items.empty()) return;
    line(level, value.trusted);
    out_.append("]", value.trusted);
  }

  void write_dict(const Value& value, int level) {
    std::vector<const std::pair<Value, Value>*> entries;
    for (const auto& entry : value.dict().entries) entries.push_back(&entry);
    if (sort_keys_) {
      runtime_.budget.step(entries.size());
      std::stable_sort(entries.begin(), entries.end(), [this](const auto* a, const auto* b) {
        return compare(runtime_.budget, a->first, b->first).value_or(0) < 0;
      });
    }
    out_.append(entries.empty() ? "{}" : "{", value.trusted);
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i) punctuate(item_, value.trusted);
      line(level + 1, value.trusted);
      write_key(entries[i]->first);
      punctuate(key_, value.trusted);
      write(entries[i]->second, level + 1);
    }
    if (entries.empty()) return;
    line(level, value.trusted);
    out_.append("}", value.trusted);
  }

  void write_key(const Value& key) {
    if (key.is(Type::kString)) return quote(key.text());
    if (!key.is_number() && !key.is(Type::kNone)) {
      fail("keys must be str, int, float, bool or None, not " + std::string(type_name(key)));
    }
    out_.append("\"", key.trusted);
    write(key, 0);
    out_.append("\"", key.trusted);
  }

  static void escape_unit(std::string& out, uint32_t unit) {
    static const char* const kHex = "0123456789abcdef";
    out += "\\u";
    for (int shift = 12; shift >= 0; shift -= 4) out += kHex[(unit >> shift) & 15];
  }

  void quote(const MarkedText& text) {
    const std::string_view bytes = text.view();
    runtime_.budget.touch(bytes.size());
    out_.append("\"", text.trusted_at(0));
    size_t plain = 0;  // start of what needs no escape
    for (size_t i = 0; i < bytes.size();) {
      const auto c = static_cast<unsigned char>(bytes[i]);
      const bool escape = c < 0x20 || c == '"' || c == '\\' || (ensure_ascii_ && c >= 0x7F);
      const size_t n = escape ? char_bytes(bytes, i) : 1;
      if (escape) {
        out_.append(text, plain, i);
        out_.append(escaped(decode_at(bytes, i)), text.trusted_at(i));
        plain = i + n;
      }
      i += n;
    }
    out_.append(text, plain, bytes.size());
    out_.append("\"", text.trusted_at(bytes.size()));
  }

  static std::string escaped(char32_t c) {
    switch (c) {
      case '"':
        return "\\\"";
      case '\\':
        return "\\\\";
      case '\n':
        return "\\n";
      case '\r':
        return "\\r";
      case '\t':
        return "\\t";
      case '\f':
        return "\\f";
      case '\b':
        return "\\b";
      default:
        break;
    }
    std::string out;
    if (c < 0x10000) {
      escape_unit(out, c);
    } else {
      escape_unit(out, 0xD800 + ((c - 0x10000) >> 10));
      escape_unit(out, 0xDC00 + ((c - 0x10000) & 0x3FF));
    }
    return out;
  }

  Runtime& runtime_;
  MarkedText& out_;
  bool ensure_ascii_ = false, sort_keys_ = false, indented_ = false;
  MarkedText unit_;
  MarkedText item_{", ", true};
  MarkedText key_{": ", true};
};

}  // namespace

void write_json(Runtime& runtime, MarkedText& out, const Value& value, const Args& options) {
  JsonWriter(runtime, out, options).write(value, 0);
}

}  // namespace serval::chat
