// Opening GGUF files: one shard is parsed by GgufParser; here shards are joined into one table and
// values are handed out with their types checked.
//
// A split model is N files "name-00001-of-0000N.gguf". The first holds the model's metadata; every
// shard carries split.no, split.count and split.tensors.count, which must agree with the names
// found.
#include "format/gguf.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "base/check.h"
#include "base/file.h"
#include "base/quoted.h"
#include "format/gguf_parser.h"
#include "serval/error.h"

namespace serval {
namespace {

constexpr uint64_t kMaxShards = 1024;  // each is an open descriptor

struct SplitName {
  std::string prefix;   // the path up to "-00001-of-00004.gguf"
  uint64_t number = 0;  // from 1
  uint64_t count = 0;
};

// Recognises "...-00001-of-00004.gguf".
std::optional<SplitName> parse_split_name(const std::string& path) {
  static constexpr std::string_view kPattern = "-ddddd-of-ddddd.gguf";
  if (path.size() <= kPattern.size()) return std::nullopt;
  const std::string_view tail = std::string_view(path).substr(path.size() - kPattern.size());
  std::array<uint64_t, 2> numbers{};
  for (size_t i = 0; i < kPattern.size(); ++i) {
    if (kPattern[i] != 'd') {
      if (tail[i] != kPattern[i]) return std::nullopt;
      continue;
    }
    if (tail[i] < '0' || tail[i] > '9') return std::nullopt;
    uint64_t& number = numbers[i < 6 ? 0 : 1];
    number = number * 10 + static_cast<uint64_t>(tail[i] - '0');
  }
  return SplitName{path.substr(0, path.size() - kPattern.size()), numbers[0], numbers[1]};
}

std::string shard_path(const SplitName& name, uint64_t number) {
  const auto padded = [](uint64_t n) {
    const std::string digits = std::to_string(n);
    return std::string(digits.size() < 5 ? 5 - digits.size() : 0, '0') + digits;
  };
  return name.prefix + "-" + padded(number) + "-of-" + padded(name.count) + ".gguf";
}

bool is_unsigned(GgufType type) {
  return type == GgufType::kUint8 || type == GgufType::kUint16 || type == GgufType::kUint32 ||
         type == GgufType::kUint64;
}

bool is_signed(GgufType type) {
  return type == GgufType::kInt8 || type == GgufType::kInt16 || type == GgufType::kInt32 ||
         type == GgufType::kInt64;
}

bool is_float(GgufType type) { return type == GgufType::kFloat32 || type == GgufType::kFloat64; }

std::optional<uint64_t> as_uint(const GgufValue& value) {
  if (is_unsigned(value.type)) return value.u;
  if (is_signed(value.type) && value.i >= 0) return static_cast<uint64_t>(value.i);
  return std::nullopt;
}

}  // namespace

std::string_view name(GgufType type) {
  static constexpr std::array<std::string_view, 13> kNames = {
      "uint8", "int8",   "uint16", "int16",  "uint32", "int32",  "float32",
      "bool",  "string", "array",  "uint64", "int64",  "float64"};
  return kNames[static_cast<size_t>(type)];
}

size_t GgufValue::array_size() const {
  if (element == GgufType::kString) return strings.size();
  return is_float(element) ? floats.size() : ints.size();
}

struct GgufFile::Impl {
  std::string path;
  std::vector<std::string> shard_paths;
  std::vector<std::unique_ptr<ByteSource>> sources;  // one per shard
  GgufShard model;                                   // the first shard, with the tensors of all
  std::vector<uint32_t> by_name;                     // indices into model.tensors, sorted by name
  uint64_t bytes = 0;

  void index_tensors();
  void add_shard(std::unique_ptr<ByteSource> source, const std::string& label);
  void check_split(const GgufShard& shard, const std::string& label, uint64_t number,
                   uint64_t count) const;
  [[noreturn]] void wrong_type(std::string_view key, const char* wanted) const;
};

void GgufFile::Impl::wrong_type(std::string_view key, const char* wanted) const {
  throw Error(ErrorCode::kCorrupt, path + ": metadata " + quoted(key) + " is not " + wanted);
}

void GgufFile::Impl::index_tensors() {
  const auto& tensors = model.tensors;
  by_name.resize(tensors.size());
  std::iota(by_name.begin(), by_name.end(), 0u);
  std::sort(by_name.begin(), by_name.end(),
            [&](uint32_t a, uint32_t b) { return tensors[a].ref.name < tensors[b].ref.name; });
  const auto twin = std::adjacent_find(by_name.begin(), by_name.end(), [&](uint32_t a, uint32_t b) {
    return tensors[a].ref.name == tensors[b].ref.name;
  });
  if (twin != by_name.end()) {
    throw Error(ErrorCode::kCorrupt,
                path + ": tensor " + quoted(tensors[*twin].ref.name) + " is in two shards");
  }
}

void GgufFile::Impl::check_split(const GgufShard& shard, const std::string& label, uint64_t number,
                                 uint64_t count) const {
  const auto field = [&](std::string_view key) -> uint64_t {
    const GgufValue* value = find_in(shard, key);
    const auto number_in_file = value == nullptr ? std::nullopt : as_uint(*value);
    if (!number_in_file) {
      throw Error(ErrorCode::kCorrupt,
                  label + ": is named as part of a split model but has no " + std::string(key));
    }
    return *number_in_file;
  };
  if (field("split.no") != number || field("split.count") != count) {
    throw Error(ErrorCode::kCorrupt,
                label + ": says it is part " + std::to_string(field("split.no") + 1) + " of " +
                    std::to_string(field("split.count")) + ", but its name says otherwise");
  }
}

void GgufFile::Impl::add_shard(std::unique_ptr<ByteSource> source, const std::string& label) {
  GgufShard shard = GgufParser(*source, label).parse();
  const int number = static_cast<int>(sources.size());
  bytes += source->size();
  sources.push_back(std::move(source));
  shard_paths.push_back(label);
  for (GgufTensor& tensor : shard.tensors) tensor.shard = number;
  if (number == 0) {
    model = std::move(shard);
    return;
  }
  const GgufValue* count = find_in(model, "split.count");
  check_split(shard, label, static_cast<uint64_t>(number),
              count == nullptr ? 0 : as_uint(*count).value_or(0));
  std::move(shard.tensors.begin(), shard.tensors.end(), std::back_inserter(model.tensors));
}

GgufFile::GgufFile() : impl_(std::make_unique<Impl>()) {}
GgufFile::~GgufFile() = default;

std::unique_ptr<GgufFile> GgufFile::open(const std::string& path) {
  auto file = GgufParser::make_file();
  Impl& impl = *file->impl_;
  impl.path = path;
  impl.add_shard(std::make_unique<File>(File::open(path)), path);
  const uint64_t count = file->get_uint("split.count").value_or(1);
  if (count > 1) {
    const auto split = parse_split_name(path);
    if (!split) {
      throw Error(ErrorCode::kInvalidArgument,
                  path + ": is one of " + std::to_string(count) +
                      " parts but is not named like \"model-00001-of-00002.gguf\"; restore the "
                      "original names");
    }
    if (split->number != 1) {
      throw Error(ErrorCode::kInvalidArgument,
                  path + ": is not the first part of the model; open " + shard_path(*split, 1));
    }
    if (count > kMaxShards) {
      throw Error(ErrorCode::kCorrupt,
                  path + ": claims " + std::to_string(count) + " parts, the limit is 1024");
    }
    impl.check_split(impl.model, path, 0, split->count);
    for (uint64_t n = 2; n <= count; ++n) {
      const std::string part = shard_path(*split, n);
      impl.add_shard(std::make_unique<File>(File::open(part)), part);
    }
    const auto total = file->get_uint("split.tensors.count");
    if (total && *total != impl.model.tensors.size()) {
      throw Error(ErrorCode::kCorrupt, path + ": promises " + std::to_string(*total) +
                                           " tensors, but its parts hold " +
                                           std::to_string(impl.model.tensors.size()));
    }
  }
  impl.index_tensors();
  return file;
}

std::unique_ptr<GgufFile> GgufFile::parse(std::span<const std::byte> bytes,
                                          const std::string& label) {
  auto file = GgufParser::make_file();
  file->impl_->path = label;
  file->impl_->add_shard(std::make_unique<MemorySource>(bytes), label);
  if (file->get_uint("split.count").value_or(1) > 1) {
    throw Error(ErrorCode::kUnsupported, label + ": is one part of a split model");
  }
  file->impl_->index_tensors();
  return file;
}

const std::string& GgufFile::path() const { return impl_->path; }
std::span<const std::string> GgufFile::shard_paths() const { return impl_->shard_paths; }
uint32_t GgufFile::version() const { return impl_->model.version; }
uint64_t GgufFile::file_bytes() const { return impl_->bytes; }
uint64_t GgufFile::alignment() const { return impl_->model.alignment; }
std::span<const GgufFile::Entry> GgufFile::metadata() const { return impl_->model.metadata; }
std::span<const GgufTensor> GgufFile::tensors() const { return impl_->model.tensors; }

const GgufValue* GgufFile::find(std::string_view key) const { return find_in(impl_->model, key); }

std::optional<uint64_t> GgufFile::get_uint(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  const auto number = as_uint(*value);
  if (!number) impl_->wrong_type(key, "a non-negative integer");
  return number;
}

std::optional<int64_t> GgufFile::get_int(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  const bool fits = is_signed(value->type) ||
                    (is_unsigned(value->type) &&
                     value->u <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max()));
  if (!fits) impl_->wrong_type(key, "a signed 64-bit integer");
  return value->i;
}

std::optional<double> GgufFile::get_float(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (is_unsigned(value->type)) return static_cast<double>(value->u);
  if (is_signed(value->type)) return static_cast<double>(value->i);
  if (!is_float(value->type) || !std::isfinite(value->f)) {
    impl_->wrong_type(key, "a finite number");
  }
  return value->f;
}

std::optional<bool> GgufFile::get_bool(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->type != GgufType::kBool) impl_->wrong_type(key, "a boolean");
  return value->u != 0;
}

std::optional<std::string> GgufFile::get_string(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->type != GgufType::kString) impl_->wrong_type(key, "a string");
  return value->s;
}

std::optional<GgufStrings> GgufFile::get_strings(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->type != GgufType::kArray || value->element != GgufType::kString) {
    impl_->wrong_type(key, "a list of strings");
  }
  return value->strings;
}

std::optional<std::vector<int64_t>> GgufFile::get_ints(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->type != GgufType::kArray || value->element == GgufType::kString ||
      is_float(value->element)) {
    impl_->wrong_type(key, "a list of integers");
  }
  return value->ints;
}

std::optional<std::vector<double>> GgufFile::get_floats(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->type != GgufType::kArray || value->element == GgufType::kString) {
    impl_->wrong_type(key, "a list of numbers");
  }
  if (is_float(value->element)) return value->floats;
  return std::vector<double>(value->ints.begin(), value->ints.end());
}

const GgufTensor* GgufFile::find_tensor(std::string_view name) const {
  const auto& tensors = impl_->model.tensors;
  const auto at = std::lower_bound(
      impl_->by_name.begin(), impl_->by_name.end(), name,
      [&](uint32_t index, std::string_view n) { return tensors[index].ref.name < n; });
  if (at == impl_->by_name.end() || tensors[*at].ref.name != name) return nullptr;
  return &tensors[*at];
}

void GgufFile::read(const TensorRef& ref, uint64_t offset, std::span<std::byte> out) {
  const GgufTensor* tensor = find_tensor(ref.name);
  if (tensor == nullptr) {
    throw Error(ErrorCode::kNotFound, impl_->path + ": has no tensor " + quoted(ref.name));
  }
  if (!tensor->supported) {
    throw Error(ErrorCode::kUnsupported,
                impl_->path + ": tensor " + quoted(ref.name) + " has storage type " +
                    std::to_string(tensor->gguf_type) + ", which this build cannot read");
  }
  const uint64_t bytes = tensor->ref.bytes();
  if (offset > bytes || out.size() > bytes - offset) {
    throw Error(ErrorCode::kInvalidArgument,
                impl_->path + ": read of " + std::to_string(out.size()) + " bytes at " +
                    std::to_string(offset) + " is beyond tensor " + quoted(ref.name) + " of " +
                    std::to_string(bytes) + " bytes");
  }
  impl_->sources[static_cast<size_t>(tensor->shard)]->read_at(tensor->offset + offset, out);
}

}  // namespace serval
