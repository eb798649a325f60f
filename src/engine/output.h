// OutputStream: one request's way from token ids to text that may be shown. Holds back what could
// still become a stop string or is half a character; text once given out is never taken back.
// Owned by its sequence; engine thread only.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace serval {

// Finds stop strings in growing text.
class StopMatcher {
 public:
  // REQUIRES: no empty string among `stops`.
  explicit StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  // Adds text; returns what is certain to come before any stop string.
  std::string push(std::string_view text);
  // Index of the stop string that matched; nothing more will be given out then.
  std::optional<size_t> matched() const { return matched_; }
  const std::string& stop(size_t i) const { return stops_[i]; }
  // No stop string came: the rest.
  std::string finish();

 private:
  std::vector<std::string> stops_;
  std::string held_;
  std::optional<size_t> matched_;
};

class OutputStream {
 public:
  // `continues`: the prompt before it has text.
  OutputStream(const Tokenizer& tokenizer, bool special, bool continues,
               std::vector<std::string> stops)
      : detokenizer_(tokenizer, special, continues), stops_(std::move(stops)) {}

  // The text this token makes visible. `look_for_stops`: false while the text must go on.
  std::string push(TokenId token, bool look_for_stops);
  // Text still held back, when the request ends without a stop string.
  std::string finish();
  // The stop string that ended the text, if one did.
  const std::string* stopped_by() const {
    const auto index = stops_.matched();
    return index ? &stops_.stop(*index) : nullptr;
  }

 private:
  Detokenizer detokenizer_;
  StopMatcher stops_;
};

}  // namespace serval
