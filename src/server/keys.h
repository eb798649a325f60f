// API keys: read once, kept as SHA-256 digests, compared in constant time.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace serval {

// What a route asks for. Every row of the router states one.
enum class Access : uint8_t {
  kOpen,     // no key
  kUse,      // any key
  kOwn,      // a key of class use or admin, for what is its owner's; without keys, as kAdmin
  kMetrics,  // a key of class metrics or admin
  kAdmin,    // a key of class admin
};

enum class KeyClass : uint8_t { kUse, kMetrics, kAdmin };

using KeyDigest = std::array<unsigned char, 32>;

struct ApiKey {
  std::string name;
  KeyClass key_class = KeyClass::kUse;
  KeyDigest digest{};
};

class KeyRing {
 public:
  // One key a line: `KEY [NAME [use|metrics|admin]]`; KEY may be `sha256:` and 64 hexadecimal
  // digits; `#` begins a comment. Throws Error(kInvalidArgument) naming `source` and the line.
  // `unnamed`: the class of a key whose line does not say. Keys of one name are one owner's.
  void add_lines(std::string_view text, const std::string& source,
                 KeyClass unnamed = KeyClass::kUse);
  // A key that may do everything.
  void add(std::string_view key, const std::string& name, KeyClass key_class);

  bool empty() const { return keys_.empty(); }
  // The key, or null. Takes the same time for every wrong key.
  const ApiKey* find(std::string_view presented) const;

 private:
  std::vector<ApiKey> keys_;
};

bool allows(KeyClass key_class, Access access);

}  // namespace serval
