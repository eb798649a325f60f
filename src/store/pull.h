// pull: brings one model into the model folder. Resumes what an earlier call left, verifies the
// SHA-256 while bytes pass, publishes the file atomically or not at all.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "store/catalogue.h"
#include "store/model_folder.h"

namespace serval {

inline constexpr char kDefaultHub[] = "https://huggingface.co";

struct PullProgress {
  std::string stage;  // "downloading", "part 2 of 4", "verifying"
  uint64_t done = 0;
  uint64_t total = 0;  // 0: not known
};

struct PullEnvironment {
  std::string hub = kDefaultHub;  // http:// is accepted for loopback only
  bool uses_proxy = false;        // addresses behind a proxy cannot be checked by us
  std::function<void(const PullProgress&)> progress;  // may be empty; called often
  std::function<void(const std::string&)> notice;     // one-line remarks for people; may be empty
  std::function<bool()> cancelled;                    // polled; may be empty
};

struct PullRequest {
  std::string id;                    // in the model folder
  std::vector<std::string> sources;  // one, or the parts of one file in order
  std::string sha256;                // empty: not known
  uint64_t bytes = 0;                // 0: not known
};
PullRequest request_for(const CatalogueEntry& entry);

// Throws Error: kCancelled keeps what was fetched, kCorrupt (wrong checksum) throws it away.
InstalledModel pull(const ModelFolder& folder, const PullRequest& request,
                    const PullEnvironment& environment);

// Names and versions of the libraries that move bytes here, for reports.
std::string transfer_libraries();

}  // namespace serval
