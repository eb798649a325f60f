// Names are ids of a narrow alphabet and tenants are encoded into one, so no request can reach a
// path outside the folder; links in it are not followed. Left-over temporary files of a killed
// process are removed at the start.
#include "server/snapshots.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <system_error>

#include "base/file.h"
#include "base/quoted.h"

namespace serval {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kExtension = ".kv";
constexpr std::string_view kTemporary = ".kv.tmp.";
constexpr size_t kMaxName = 64;
constexpr int kMaxWaiting = 16;
constexpr size_t kMaxPerTenant = 1000;

bool in_alphabet(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

std::string tenant_folder(std::string_view tenant) {
  std::string out = "@";
  for (const char c : tenant) {
    out +=
        in_alphabet(c) ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

bool is_file(const std::string& path) {
  std::error_code error;
  return fs::symlink_status(path, error).type() == fs::file_type::regular;
}

// "x.kv.tmp.PID.N" of a process that is no more. Our own id was another's before: in a container
// every server may have number 1.
bool is_left_over(const std::string& name) {
  const size_t at = name.rfind(kTemporary);
  if (at == std::string::npos || name.ends_with(kExtension)) return false;
  const long pid = std::strtol(name.c_str() + at + kTemporary.size(), nullptr, 10);
  if (pid == ::getpid()) return true;
  return pid > 0 && ::kill(static_cast<pid_t>(pid), 0) != 0 && errno == ESRCH;
}

void remove_left_overs(const std::string& folder) {
  std::error_code error;
  std::vector<fs::path> old;
  for (fs::recursive_directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error)) {
    if (it.depth() > 1) it.disable_recursion_pending();
    if (is_left_over(it->path().filename().string())) old.push_back(it->path());
  }
  for (const fs::path& path : old) fs::remove(path, error);
}

int64_t created_at(const std::string& path) {
  std::error_code error;
  const auto written = fs::last_write_time(path, error);
  if (error) return 0;
  const auto ago = fs::file_time_type::clock::now() - written;
  const auto when = std::chrono::system_clock::now() -
                    std::chrono::duration_cast<std::chrono::system_clock::duration>(ago);
  return std::chrono::duration_cast<std::chrono::seconds>(when.time_since_epoch()).count();
}

Error not_found(const std::string& name) {
  return {ErrorCode::kNotFound, fmt::format("there is no snapshot {}", serval::quoted(name))};
}

// The same error with the snapshot's name in the place of the path.
Error renamed(const Error& error, const std::string& path, const std::string& name) {
  std::string message = error.message();
  for (size_t at = message.find(path); at != std::string::npos; at = message.find(path, at)) {
    message.replace(at, path.size(), name);
    at += name.size();
  }
  return {error.code(), std::move(message), error.param()};
}

}  // namespace

bool valid_snapshot_name(std::string_view name) {
  return !name.empty() && name.size() <= kMaxName && name.front() != '.' &&
         std::all_of(name.begin(), name.end(), in_alphabet);
}

SnapshotShelf::SnapshotShelf(Engine& engine, ShelfConfig config)
    : engine_(engine), config_(std::move(config)) {
  if (enabled()) remove_left_overs(config_.folder);
  for (const std::string& wanted : config_.preload) {
    const size_t slash = wanted.find('/');
    const std::string tenant = slash == std::string::npos ? "" : wanted.substr(0, slash);
    const std::string name = slash == std::string::npos ? wanted : wanted.substr(slash + 1);
    if (!enabled() || !valid_snapshot_name(name) || !is_file(path_of(tenant, name))) {
      throw Error(ErrorCode::kNotFound,
                  fmt::format("--preload {}: there is no such snapshot in {}", wanted,
                              enabled() ? config_.folder : "--snapshot-dir, which is not set"));
    }
    load_path(path_of(tenant, name), tenant, name);
  }
}

SnapshotShelf::~SnapshotShelf() { join(); }

bool SnapshotShelf::post(std::function<void()> job) {
  if (waiting_.fetch_add(1) >= kMaxWaiting) {
    waiting_.fetch_sub(1);
    return false;
  }
  boost::asio::post(thread_, [this, job = std::move(job)] {
    job();
    waiting_.fetch_sub(1);
  });
  return true;
}

void SnapshotShelf::join() { thread_.join(); }

std::string SnapshotShelf::folder_of(const std::string& tenant) const {
  return tenant.empty() ? config_.folder : config_.folder + "/" + tenant_folder(tenant);
}

std::string SnapshotShelf::path_of(const std::string& tenant, const std::string& name) const {
  return fmt::format("{}/{}{}", folder_of(tenant), name, kExtension);
}

std::vector<SnapshotEntry> SnapshotShelf::list(const std::string& tenant) const {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(folder_of(tenant), error), end; !error && it != end;
       it.increment(error)) {
    std::string name = it->path().filename().string();
    if (!name.ends_with(kExtension)) continue;
    name.resize(name.size() - kExtension.size());
    if (valid_snapshot_name(name) && is_file(it->path().string())) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  std::vector<SnapshotEntry> entries;
  entries.reserve(names.size());
  for (const std::string& name : names) entries.push_back(entry(path_of(tenant, name), name));
  return entries;
}

SnapshotEntry SnapshotShelf::show(const std::string& tenant, const std::string& name) const {
  const std::string path = path_of(tenant, name);
  if (!is_file(path)) throw not_found(name);
  return entry(path, name);
}

SnapshotEntry SnapshotShelf::entry(const std::string& path, const std::string& name) const {
  SnapshotEntry out;
  out.name = name;
  out.created = created_at(path);
  if (const auto info = engine_.inspect_state(path, false)) {
    out.tokens = info->tokens;
    out.bytes = info->bytes;
  } else {
    out.problem = renamed(info.error(), path, name).message();
    std::error_code error;
    const uintmax_t size = fs::file_size(path, error);
    out.bytes = error ? 0 : size;
  }
  const std::lock_guard lock(mutex_);
  out.loaded = loaded_.contains(path);
  return out;
}

uint64_t SnapshotShelf::bytes_on_disk() const {
  uint64_t total = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator it(config_.folder, error), end; !error && it != end;
       it.increment(error)) {
    std::error_code ignored;
    if (it->is_regular_file(ignored)) total += it->file_size(ignored);
  }
  return total;
}

// The path to write, in a folder that exists, when there is room for `bytes`.
std::string SnapshotShelf::prepare(const std::string& tenant, const std::string& name,
                                   uint64_t bytes, bool replace) const {
  const std::string folder = folder_of(tenant);
  std::error_code ignored;
  fs::create_directories(fs::path(config_.folder).parent_path(), ignored);
  for (const std::string& each : {config_.folder, folder}) {
    if (::mkdir(each.c_str(), 0700) != 0 && errno != EEXIST) {
      throw Error(ErrorCode::kIo, "the folder of snapshots cannot be made: " +
                                      std::generic_category().message(errno));
    }
  }
  std::string path = path_of(tenant, name);
  if (!replace && is_file(path)) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("there is a snapshot {} already: delete it, or set replace",
                            serval::quoted(name)),
                "name");
  }
  if (bytes_on_disk() + bytes > config_.max_bytes || list(tenant).size() >= kMaxPerTenant) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("snapshots may have {} bytes in all (--snapshot-size) and {} names; "
                            "delete some first",
                            config_.max_bytes, kMaxPerTenant));
  }
  return path;
}

SnapshotEntry SnapshotShelf::create(const std::string& tenant, const std::string& name,
                                    const Prompt& prompt, bool replace) {
  const auto tokens = engine_.tokenize(prompt);
  if (!tokens) throw tokens.error();
  const auto pool = static_cast<uint64_t>(std::max<int64_t>(engine_.stats().kv_tokens_total, 1));
  const uint64_t bytes = tokens->size() * (engine_.info().kv_bytes / pool + sizeof(TokenId));
  const std::string path = prepare(tenant, name, bytes, replace);
  const auto saved = engine_.save_state(Prompt(*tokens), path, tenant);
  if (!saved) throw renamed(saved.error(), path, name);
  unpin(path);  // what was pinned is no longer what the name stands for
  return entry(path, name);
}

SnapshotEntry SnapshotShelf::load(const std::string& tenant, const std::string& name) {
  const std::string path = path_of(tenant, name);
  if (!is_file(path)) throw not_found(name);
  const auto info = engine_.inspect_state(path, false);
  if (!info) throw renamed(info.error(), path, name);
  // Requests need room too: clients may pin half of the pool. The operator's --preload may more.
  int64_t pinned = info->tokens;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [other, count] : loaded_) pinned += other == path ? 0 : count;
  }
  if (const int64_t most = engine_.stats().kv_tokens_total / 2; pinned > most) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("loaded snapshots would hold {} KV tokens, but may hold {}, half of "
                            "the pool: unload some, or raise -c",
                            pinned, most));
  }
  load_path(path, tenant, name);
  return entry(path, name);
}

SnapshotInfo SnapshotShelf::load_path(const std::string& path, const std::string& tenant,
                                      const std::string& name) {
  const auto info = engine_.load_state(path, tenant);
  if (!info) throw renamed(info.error(), path, name);
  const std::lock_guard lock(mutex_);
  loaded_[path] = info->tokens;
  return *info;
}

void SnapshotShelf::unpin(const std::string& path) {
  {
    const std::lock_guard lock(mutex_);
    if (loaded_.erase(path) == 0) return;
  }
  engine_.release_state(path);
}

SnapshotEntry SnapshotShelf::unload(const std::string& tenant, const std::string& name) {
  const std::string path = path_of(tenant, name);
  if (!is_file(path)) throw not_found(name);
  unpin(path);
  return entry(path, name);
}

void SnapshotShelf::remove(const std::string& tenant, const std::string& name) {
  const std::string path = path_of(tenant, name);
  if (!is_file(path)) throw not_found(name);
  unpin(path);
  std::error_code error;
  if (!fs::remove(path, error) || error) {
    throw Error(ErrorCode::kIo, fmt::format("{}: cannot be deleted: {}", name, error.message()));
  }
  sync_directory(folder_of(tenant));
}

std::string SnapshotShelf::read(const std::string& tenant, const std::string& name) const {
  const std::string path = path_of(tenant, name);
  if (!is_file(path)) throw not_found(name);
  const auto info = engine_.inspect_state(path, true);
  if (!info) throw renamed(info.error(), path, name);
  return read_text_file(path, config_.max_import);
}

SnapshotEntry SnapshotShelf::import(const std::string& tenant, const std::string& name,
                                    std::string_view bytes, bool replace) {
  const std::string path = prepare(tenant, name, bytes.size(), replace);
  AtomicFile file(path);
  file.write(bytes);
  file.commit([&](const std::string& temporary) {
    const auto info = engine_.inspect_state(temporary, true);
    if (!info) throw renamed(info.error(), temporary, name);
  });
  unpin(path);
  return entry(path, name);
}

}  // namespace serval
