// Comparing digests instead of keys makes all comparisons equally long; looking at every key makes
// the time independent of which one matches.
#include "server/keys.h"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>

#include "serval/error.h"
#include "serval/watch.h"

namespace serval {
namespace {

constexpr size_t kShortestKey = 16;
// Of a name: as much as the engine's events carry. Cut there, two owners could become one, and see
// each other's requests.
constexpr size_t kLongestName = std::tuple_size_v<decltype(LifeEvent::tenant)> - 1;
constexpr std::string_view kDigestPrefix = "sha256:";

KeyDigest digest_of(std::string_view key) {
  KeyDigest digest;
  SHA256(reinterpret_cast<const unsigned char*>(key.data()), key.size(), digest.data());
  return digest;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool parse_digest(std::string_view hex, KeyDigest& digest) {
  if (hex.size() != 2 * digest.size()) return false;
  for (size_t i = 0; i < digest.size(); ++i) {
    const int high = hex_digit(hex[2 * i]);
    const int low = hex_digit(hex[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    digest[i] = static_cast<unsigned char>(high * 16 + low);
  }
  return true;
}

std::string_view next_word(std::string_view& line) {
  const size_t begin = line.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return line = {};
  line.remove_prefix(begin);
  const std::string_view word = line.substr(0, line.find_first_of(" \t\r"));
  line.remove_prefix(word.size());
  return word;
}

}  // namespace

void KeyRing::add(std::string_view key, const std::string& name, KeyClass key_class) {
  keys_.push_back({name, key_class, digest_of(key)});
}

void KeyRing::add_lines(std::string_view text, const std::string& source, KeyClass unnamed) {
  int number = 0;
  const auto fail = [&](std::string_view what) {
    throw Error(ErrorCode::kInvalidArgument, fmt::format("{}, line {}: {}", source, number, what));
  };
  while (!text.empty()) {
    ++number;
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    line = line.substr(0, line.find('#'));
    const std::string_view key = next_word(line);
    if (key.empty()) continue;
    const std::string_view name = next_word(line);
    const std::string_view class_name = next_word(line);
    ApiKey entry;
    // Not the same word in both files, or two owners would be one.
    const char* word = unnamed == KeyClass::kAdmin ? "admin" : "key";
    entry.name = name.empty() ? fmt::format("{}{}", word, keys_.size() + 1) : std::string(name);
    entry.key_class = unnamed;
    if (class_name == "admin") {
      entry.key_class = KeyClass::kAdmin;
    } else if (class_name == "use") {
      entry.key_class = KeyClass::kUse;
    } else if (class_name == "metrics") {
      entry.key_class = KeyClass::kMetrics;
    } else if (!class_name.empty()) {
      fail("the class of a key is use, metrics or admin");
    }
    if (!next_word(line).empty()) fail("write KEY [NAME [CLASS]]");
    if (name.size() > kLongestName) {
      fail(fmt::format("the name of a key has at most {} bytes", kLongestName));
    }
    if (key.starts_with(kDigestPrefix)) {
      if (!parse_digest(key.substr(kDigestPrefix.size()), entry.digest)) {
        fail("sha256: must be followed by 64 hexadecimal digits");
      }
    } else if (key.size() < kShortestKey) {
      fail(fmt::format("a key needs at least {} characters", kShortestKey));
    } else {
      entry.digest = digest_of(key);
    }
    keys_.push_back(std::move(entry));
  }
}

const ApiKey* KeyRing::find(std::string_view presented) const {
  const KeyDigest digest = digest_of(presented);
  const ApiKey* found = nullptr;
  for (const ApiKey& key : keys_) {
    if (CRYPTO_memcmp(key.digest.data(), digest.data(), digest.size()) == 0) found = &key;
  }
  return found;
}

bool allows(KeyClass key_class, Access access) {
  switch (access) {
    case Access::kOpen:
      return true;
    case Access::kUse:
    case Access::kOwn:
      return key_class != KeyClass::kMetrics;
    case Access::kMetrics:
      return key_class != KeyClass::kUse;
    case Access::kAdmin:
      return key_class == KeyClass::kAdmin;
  }
  return false;
}

}  // namespace serval
