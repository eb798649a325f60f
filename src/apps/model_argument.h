// MODEL on a command line: a path, a name, an address; and what to do when it is not here yet.
#pragma once

#include <string>
#include <vector>

#include "apps/options.h"

namespace serval {

// True when the text is a file, a catalogue name, an installed model or an address, or is plainly
// meant as a file (ends in .gguf): then a single positional is MODEL and not PROMPT.
bool names_model(const std::string& text);

// The path of a GGUF file; "" means the default model. A missing model is offered for download on a
// terminal; without one, or with --yes, it is fetched if the catalogue pins its checksum and
// refused otherwise. Throws Error / UsageError.
std::string resolve_model(const std::string& text, const ModelOptions& options);

// Downloads with a progress bar; Ctrl-C throws Error(kCancelled) and a later call resumes. An id of
// "" is made from the source, a pin of "" means unknown.
struct PullOptions {
  std::string id, sha256;
  std::vector<std::string> more_parts;  // further addresses, whose bytes follow those of the first
};
std::string pull_model(const std::string& text, const PullOptions& options);

// MODEL and PROMPT out of `-m`, and up to two positionals: one alone is MODEL if it names one.
struct ModelAndText {
  std::string model, text;
};
ModelAndText split_positionals(const std::string& model_option,
                               const std::vector<std::string>& positionals);

}  // namespace serval
