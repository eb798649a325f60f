// model.json is written last and atomically, and read strictly: a file name in it must be a plain
// name inside the model's own folder, so a damaged or planted record cannot point anywhere else.
#include "store/model_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <pwd.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include "base/file.h"
#include "serval/error.h"

namespace serval {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr uint64_t kMaxRecord = 64 * 1024;

std::string user_name() {
  const passwd* entry = ::getpwuid(::geteuid());
  return entry != nullptr ? entry->pw_name : fmt::format("uid {}", ::geteuid());
}

std::string text_of(const json::object& record, std::string_view key) {
  const json::value* value = record.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

bool is_plain_name(std::string_view name) {
  return !name.empty() && name.front() != '.' && name.find('/') == std::string_view::npos;
}

uint64_t tree_bytes(const fs::path& folder) {
  uint64_t total = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator it(folder, error), end; it != end; it.increment(error)) {
    if (error) break;
    if (it->is_regular_file(error)) total += it->file_size(error);
  }
  return total;
}

}  // namespace

bool is_model_id(std::string_view text) {
  if (text.empty() || text.size() > 128) return false;
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == ':' ||
           c == '-';
  };
  const bool starts_well =
      (text.front() >= 'a' && text.front() <= 'z') || (text.front() >= '0' && text.front() <= '9');
  return starts_well && std::all_of(text.begin(), text.end(), allowed);
}

FolderLock::FolderLock(const std::string& folder, const std::string& id) {
  const std::string path = folder + "/.lock";
  descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor_ < 0) {
    throw Error(ErrorCode::kIo, fmt::format("{}: cannot create the lock file: {}", path,
                                            std::generic_category().message(errno)));
  }
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    ::close(std::exchange(descriptor_, -1));
    throw Error(
        ErrorCode::kResourceExhausted,
        fmt::format("{}: another serval process is changing this model; wait for it to end", id));
  }
}

FolderLock::~FolderLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

std::string ModelFolder::folder(std::string_view id) const { return root_ + "/" + std::string(id); }

std::optional<InstalledModel> ModelFolder::find(std::string_view id) const {
  if (!is_model_id(id)) return std::nullopt;
  const std::string path = folder(id) + "/model.json";
  std::error_code error;
  if (!fs::is_regular_file(path, error)) return std::nullopt;
  const json::value parsed = json::parse(read_text_file(path, kMaxRecord), error);
  if (error || !parsed.is_object()) return std::nullopt;
  const json::object& record = parsed.get_object();
  InstalledModel model;
  model.id = std::string(id);
  const std::string file = text_of(record, "file");
  if (!is_plain_name(file)) return std::nullopt;
  model.path = folder(id) + "/" + file;
  model.source = text_of(record, "source");
  model.sha256 = text_of(record, "sha256");
  model.date = text_of(record, "date");
  const json::value* pinned = record.if_contains("pinned");
  model.pinned = pinned != nullptr && pinned->is_bool() && pinned->get_bool();
  if (!fs::is_regular_file(model.path, error)) return std::nullopt;
  model.bytes = fs::file_size(model.path, error);
  return model;
}

std::vector<InstalledModel> ModelFolder::list() const {
  std::vector<InstalledModel> models;
  std::error_code error;
  for (fs::directory_iterator it(root_, error), end; !error && it != end; it.increment(error)) {
    if (auto model = find(it->path().filename().string())) models.push_back(std::move(*model));
  }
  std::sort(models.begin(), models.end(),
            [](const InstalledModel& a, const InstalledModel& b) { return a.id < b.id; });
  return models;
}

std::vector<std::string> ModelFolder::unfinished() const {
  std::vector<std::string> ids;
  std::error_code error;
  for (fs::directory_iterator it(root_, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (fs::is_directory(it->path() / ".download", ignored)) {
      ids.push_back(it->path().filename().string());
    }
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

std::string ModelFolder::create(std::string_view id) const {
  std::string path = folder(id);
  std::error_code error;
  fs::create_directories(path, error);
  if (!error && ::access(path.c_str(), W_OK | X_OK) != 0) {
    error = std::error_code(errno, std::generic_category());
  }
  if (error) {
    throw Error(ErrorCode::kIo,
                fmt::format("{}: user {} cannot write the model folder: {}; set SERVAL_HOME to a "
                            "folder you own",
                            path, user_name(), error.message()));
  }
  return path;
}

void ModelFolder::publish(const InstalledModel& model) const {
  const std::string own = folder(model.id);
  const std::string file = fs::path(model.path).filename().string();
  json::object record;
  record["file"] = file;
  record["source"] = model.source;
  record["sha256"] = model.sha256;
  record["bytes"] = model.bytes;
  record["date"] = model.date;
  record["pinned"] = model.pinned;
  AtomicFile out(own + "/model.json");
  out.write(json::serialize(record) + "\n");
  out.commit();
  std::error_code error;
  for (fs::directory_iterator it(own, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    std::error_code ignored;
    if (name.ends_with(".gguf") && name != file) fs::remove(it->path(), ignored);
  }
}

uint64_t ModelFolder::remove(std::string_view id) const {
  const std::string path = folder(id);
  std::error_code error;
  if (!is_model_id(id) || !fs::is_directory(path, error)) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("{}: not installed; `serval list` shows what is", id));
  }
  const FolderLock lock(path, std::string(id));
  const uint64_t freed = tree_bytes(path);
  // The record goes first: whatever happens afterwards, no half-removed model is ever found.
  fs::remove(path + "/model.json", error);
  if (!error) fs::remove_all(path, error);
  if (error) {
    throw Error(ErrorCode::kIo, fmt::format("{}: cannot remove: {}", path, error.message()));
  }
  return freed;
}

}  // namespace serval
