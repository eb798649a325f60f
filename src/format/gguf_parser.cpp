// GGUF, version 2 and 3 (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md):
//
//   "GGUF" | u32 version | u64 tensor count | u64 entry count
//   entry:  string key | u32 type | value          string: u64 length, bytes
//   tensor: string name | u32 dims | u64 ne[dims] | u32 ggml type | u64 offset in the data section
//   padding to general.alignment | data section
//
// One forward pass. Each count is first compared with the fewest bytes its items can take, so
// memory follows the bytes present. When the table is read, the data section is known, and every
// tensor is proven to lie in it, aligned, and apart from all others. Only then does a GgufShard
// leave this file.
#include "format/gguf_parser.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <numeric>

#include "base/checked.h"
#include "base/quoted.h"
#include "base/utf8.h"

namespace serval {
namespace {

constexpr uint64_t kMaxEntries = 65'536;
constexpr uint64_t kMaxTensors = 1'048'576;
constexpr uint64_t kMaxKeyBytes = 65'535;
constexpr uint64_t kMaxTensorNameBytes = 256;  // the format says 64; some converters write more
constexpr uint64_t kMaxDims = 4;
constexpr uint64_t kDefaultAlignment = 32;
constexpr uint64_t kMaxAlignment = 1024 * 1024;
constexpr uint64_t kMaxMetadataBytes = 1024ull * 1024 * 1024;
constexpr uint64_t kMinEntryBytes = 8 + 1 + 4 + 1;  // key length, key, type, smallest value
constexpr uint64_t kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;  // a one-dimensional entry

std::string numbered(const char* what, uint64_t number) {
  return std::string(what) + " " + std::to_string(number);
}

// Fixed size of a scalar in the file; 0 for strings and arrays.
uint64_t scalar_bytes(GgufType type) {
  switch (type) {
    case GgufType::kUint8:
    case GgufType::kInt8:
    case GgufType::kBool:
      return 1;
    case GgufType::kUint16:
    case GgufType::kInt16:
      return 2;
    case GgufType::kUint32:
    case GgufType::kInt32:
    case GgufType::kFloat32:
      return 4;
    case GgufType::kUint64:
    case GgufType::kInt64:
    case GgufType::kFloat64:
      return 8;
    case GgufType::kString:
    case GgufType::kArray:
      return 0;
  }
  return 0;
}

}  // namespace

std::unique_ptr<GgufFile> GgufParser::make_file() {
  return std::unique_ptr<GgufFile>(new GgufFile());
}

GgufShard GgufParser::parse() {
  read_header();
  read_metadata();
  read_alignment();
  read_tensor_table();
  return std::move(shard_);
}

void GgufParser::charge(uint64_t bytes) {
  charged_ += bytes;  // no wrap: every term is bounded by a small multiple of the file size
  if (charged_ > kMaxMetadataBytes) {
    in_.fail("metadata expands beyond " + std::to_string(kMaxMetadataBytes >> 20) + " MiB");
  }
}

void GgufParser::read_header() {
  if (in_.size() == 0) throw Error(ErrorCode::kCorrupt, label_ + ": the file is empty");
  if (in_.size() < 4) in_.fail("too short for a GGUF file");
  const auto magic = in_.take(4, "the magic");
  if (std::memcmp(magic.data(), "GGUF", 4) != 0) {
    in_.fail_at(0, "not a GGUF file (it begins with " +
                       quoted({reinterpret_cast<const char*>(magic.data()), 4}) + ")");
  }
  shard_.version = in_.read<uint32_t>("the version");
  if (shard_.version != 2 && shard_.version != 3) {
    const bool swapped = (shard_.version & 0xFFFF) == 0 && shard_.version != 0;
    throw Error(ErrorCode::kUnsupported,
                label_ + ": offset 4: " +
                    (swapped ? "big-endian GGUF files are not supported; convert the file to "
                               "little-endian"
                             : "GGUF version " + std::to_string(shard_.version) +
                                   " is not supported (2 and 3 are)"));
  }
  tensor_count_ = in_.read<uint64_t>("the tensor count");
  entry_count_ = in_.read<uint64_t>("the metadata count");
  if (tensor_count_ > kMaxTensors || tensor_count_ > in_.left() / kMinTensorBytes) {
    in_.fail_at(8, numbered("impossible tensor count", tensor_count_));
  }
  if (entry_count_ > kMaxEntries || entry_count_ > in_.left() / kMinEntryBytes) {
    in_.fail_at(16, numbered("impossible metadata count", entry_count_));
  }
}

std::string GgufParser::read_string(uint64_t limit, const char* what) {
  const uint64_t begin = in_.offset();
  const auto length = in_.read<uint64_t>(what);
  if (length > in_.left()) {
    in_.fail_at(begin, std::string(what) + " claims " + std::to_string(length) +
                           " bytes, but the file has " + std::to_string(in_.left()) + " left");
  }
  if (length > limit) {
    in_.fail_at(begin, std::string(what) + " has " + std::to_string(length) +
                           " bytes, the limit is " + std::to_string(limit));
  }
  charge(length);
  std::string text;
  in_.append_to(text, length, what);
  return text;
}

GgufType GgufParser::read_type(const char* what) {
  const uint64_t begin = in_.offset();
  const auto type = in_.read<uint32_t>(what);
  if (type > static_cast<uint32_t>(GgufType::kFloat64)) {
    in_.fail_at(begin, numbered(what, type) + " does not exist");
  }
  return static_cast<GgufType>(type);
}

void GgufParser::read_metadata() {
  std::vector<uint64_t> key_offsets;
  for (uint64_t n = 0; n < entry_count_; ++n) {
    const uint64_t begin = in_.offset();
    GgufFile::Entry entry;
    entry.key = read_string(kMaxKeyBytes, "metadata key");
    const bool has_control = std::any_of(entry.key.begin(), entry.key.end(),
                                         [](unsigned char c) { return c < 0x20 || c == 0x7F; });
    if (entry.key.empty() || has_control || !is_valid_utf8(entry.key)) {
      in_.fail_at(begin, "metadata key " + quoted(entry.key) + " is not a usable name");
    }
    entry.value.type = read_type("value type");
    if (entry.value.type == GgufType::kArray) {
      read_array(entry.value);
    } else {
      read_scalar(entry.value.type, entry.value);
    }
    charge(sizeof(GgufFile::Entry));
    key_offsets.push_back(begin);
    shard_.metadata.push_back(std::move(entry));
  }
  index_metadata(key_offsets);
}

void GgufParser::index_metadata(const std::vector<uint64_t>& key_offsets) {
  const auto& entries = shard_.metadata;
  shard_.by_key.resize(entries.size());
  std::iota(shard_.by_key.begin(), shard_.by_key.end(), 0u);
  std::stable_sort(shard_.by_key.begin(), shard_.by_key.end(),
                   [&](uint32_t a, uint32_t b) { return entries[a].key < entries[b].key; });
  const auto twin =
      std::adjacent_find(shard_.by_key.begin(), shard_.by_key.end(),
                         [&](uint32_t a, uint32_t b) { return entries[a].key == entries[b].key; });
  if (twin != shard_.by_key.end()) {
    in_.fail_at(key_offsets[*(twin + 1)],
                "metadata key " + quoted(entries[*twin].key) + " appears twice");
  }
}

void GgufParser::read_scalar(GgufType type, GgufValue& value) {
  const auto set_unsigned = [&](uint64_t u) {
    value.u = u;
    value.i = u <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())
                  ? static_cast<int64_t>(u)
                  : std::numeric_limits<int64_t>::max();
  };
  constexpr const char* kWhat = "metadata value";
  switch (type) {
    case GgufType::kUint8:
      return set_unsigned(in_.read<uint8_t>(kWhat));
    case GgufType::kUint16:
      return set_unsigned(in_.read<uint16_t>(kWhat));
    case GgufType::kUint32:
      return set_unsigned(in_.read<uint32_t>(kWhat));
    case GgufType::kUint64:
      return set_unsigned(in_.read<uint64_t>(kWhat));
    case GgufType::kInt8:
      value.i = static_cast<int64_t>(in_.read<int8_t>(kWhat));
      return;
    case GgufType::kInt16:
      value.i = in_.read<int16_t>(kWhat);
      return;
    case GgufType::kInt32:
      value.i = in_.read<int32_t>(kWhat);
      return;
    case GgufType::kInt64:
      value.i = in_.read<int64_t>(kWhat);
      return;
    case GgufType::kFloat32:
      value.f = in_.read<float>(kWhat);
      return;
    case GgufType::kFloat64:
      value.f = in_.read<double>(kWhat);
      return;
    case GgufType::kBool: {
      const uint64_t begin = in_.offset();
      const auto byte = in_.read<uint8_t>(kWhat);
      if (byte > 1) in_.fail_at(begin, numbered("boolean value", byte) + " is neither 0 nor 1");
      return set_unsigned(byte);
    }
    case GgufType::kString:
      value.s = read_string(kMaxMetadataBytes, "metadata string");
      return;
    case GgufType::kArray:
      return;  // read_metadata and read_array never pass it
  }
}

template <typename T, typename Out>
void GgufParser::read_numbers(uint64_t count, std::vector<Out>& out) {
  charge(count * sizeof(Out));
  out.reserve(static_cast<size_t>(count));
  constexpr uint64_t kPiece = ByteReader::kMaxTake / sizeof(T);
  while (count > 0) {
    const auto piece = static_cast<size_t>(std::min(count, kPiece));
    const uint64_t begin = in_.offset();
    const auto bytes = in_.take(piece * sizeof(T), "metadata array");
    for (size_t n = 0; n < piece; ++n) {
      T number;
      std::memcpy(&number, bytes.data() + n * sizeof(T), sizeof(T));
      if constexpr (std::is_same_v<T, uint64_t>) {
        if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
          in_.fail_at(begin + n * sizeof(T), "array number beyond the signed 64-bit range");
        }
      }
      out.push_back(static_cast<Out>(number));
    }
    count -= piece;
  }
}

void GgufParser::read_array(GgufValue& value) {
  const uint64_t begin = in_.offset();
  value.element = read_type("array element type");
  if (value.element == GgufType::kArray) in_.fail_at(begin, "arrays of arrays are not supported");
  const auto count = in_.read<uint64_t>("array length");
  const uint64_t item_bytes =
      value.element == GgufType::kString ? sizeof(uint64_t) : scalar_bytes(value.element);
  if (count > in_.left() / item_bytes) {
    in_.fail_at(begin + 4, numbered("array length", count) + " is beyond the end of the file");
  }
  switch (value.element) {
    case GgufType::kUint8:
      return read_numbers<uint8_t>(count, value.ints);
    case GgufType::kInt8:
      return read_numbers<int8_t>(count, value.ints);
    case GgufType::kUint16:
      return read_numbers<uint16_t>(count, value.ints);
    case GgufType::kInt16:
      return read_numbers<int16_t>(count, value.ints);
    case GgufType::kUint32:
      return read_numbers<uint32_t>(count, value.ints);
    case GgufType::kInt32:
      return read_numbers<int32_t>(count, value.ints);
    case GgufType::kUint64:
      return read_numbers<uint64_t>(count, value.ints);
    case GgufType::kInt64:
      return read_numbers<int64_t>(count, value.ints);
    case GgufType::kFloat32:
      return read_numbers<float>(count, value.floats);
    case GgufType::kFloat64:
      return read_numbers<double>(count, value.floats);
    case GgufType::kBool:
      read_numbers<uint8_t>(count, value.ints);
      if (std::any_of(value.ints.begin(), value.ints.end(), [](int64_t b) { return b > 1; })) {
        in_.fail_at(begin, "boolean array holds values that are neither 0 nor 1");
      }
      return;
    case GgufType::kString:
      return read_string_array(count, value);
    case GgufType::kArray:
      return;
  }
}

// All strings go into one buffer: a vocabulary of 262,144 tokens costs two allocations that grow,
// not 262,144.
void GgufParser::read_string_array(uint64_t count, GgufValue& value) {
  auto bytes = std::make_shared<std::string>();
  auto ends = std::make_shared<std::vector<uint64_t>>();
  charge(count * sizeof(uint64_t));
  ends->reserve(static_cast<size_t>(count));
  for (uint64_t n = 0; n < count; ++n) {
    const uint64_t begin = in_.offset();
    const auto length = in_.read<uint64_t>("array string");
    if (length > in_.left()) {
      in_.fail_at(begin, numbered("array string", n) + " claims " + std::to_string(length) +
                             " bytes, but the file has " + std::to_string(in_.left()) + " left");
    }
    charge(length);
    in_.append_to(*bytes, length, "array string");
    ends->push_back(bytes->size());
  }
  value.strings.bytes_ = std::move(bytes);
  value.strings.ends_ = std::move(ends);
}

const GgufValue* find_in(const GgufShard& shard, std::string_view key) {
  const auto at = std::lower_bound(
      shard.by_key.begin(), shard.by_key.end(), key,
      [&](uint32_t index, std::string_view k) { return shard.metadata[index].key < k; });
  if (at == shard.by_key.end() || shard.metadata[*at].key != key) return nullptr;
  return &shard.metadata[*at].value;
}

void GgufParser::read_alignment() {
  shard_.alignment = kDefaultAlignment;
  const GgufValue* value = find_in(shard_, "general.alignment");
  if (value == nullptr) return;
  const bool is_unsigned = value->type == GgufType::kUint32 || value->type == GgufType::kUint64 ||
                           value->type == GgufType::kUint16 || value->type == GgufType::kUint8;
  if (!is_unsigned || !std::has_single_bit(value->u) || value->u > kMaxAlignment) {
    in_.fail("general.alignment must be a power of two up to 1048576");
  }
  shard_.alignment = value->u;
}

GgufTensor GgufParser::read_tensor_entry() {
  const uint64_t begin = in_.offset();
  GgufTensor tensor;
  tensor.ref.name = read_string(kMaxTensorNameBytes, "tensor name");
  const std::string shown = "tensor " + quoted(tensor.ref.name);
  if (tensor.ref.name.empty() || tensor.ref.name.find('\0') != std::string::npos) {
    in_.fail_at(begin, shown + " is not a usable name");
  }
  const auto dims = in_.read<uint32_t>("tensor dimension count");
  if (dims < 1 || dims > kMaxDims) {
    in_.fail_at(begin, shown + " has " + std::to_string(dims) + " dimensions, 1 to 4 are allowed");
  }
  uint64_t rows = 1;
  for (uint32_t d = 0; d < dims; ++d) {
    const auto extent = in_.read<uint64_t>("tensor dimension");
    const auto product = checked_mul(rows, d == 0 ? 1 : extent);
    constexpr auto kMax = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    if (extent == 0 || extent > kMax || !product || *product > kMax) {
      in_.fail_at(begin, shown + " has an impossible dimension " + std::to_string(extent));
    }
    rows = *product;
    tensor.ne.push_back(extent);
  }
  tensor.ref.rows = static_cast<int64_t>(rows);
  tensor.ref.cols = static_cast<int64_t>(tensor.ne[0]);
  tensor.gguf_type = in_.read<uint32_t>("tensor type");
  tensor.offset = in_.read<uint64_t>("tensor offset");  // relative until prove_ranges
  const auto dtype = dtype_from_gguf(tensor.gguf_type);
  tensor.supported = dtype.has_value();
  if (!dtype) return tensor;
  tensor.ref.dtype = *dtype;
  const DTypeInfo& format = info(*dtype);
  if (tensor.ne[0] % static_cast<uint64_t>(format.block_elements) != 0) {
    in_.fail_at(begin, shown + ": row length " + std::to_string(tensor.ne[0]) +
                           " is not a multiple of the " + std::string(format.name) + " block of " +
                           std::to_string(format.block_elements));
  }
  // A product that wraps would hide behind TensorRef::bytes(); here it is proven once.
  const auto row = checked_mul(tensor.ne[0] / static_cast<uint64_t>(format.block_elements),
                               static_cast<uint64_t>(format.block_bytes));
  if (!row || !checked_mul(*row, rows)) in_.fail_at(begin, shown + ": its size overflows 64 bits");
  return tensor;
}

void GgufParser::read_tensor_table() {
  in_.require(tensor_count_, kMinTensorBytes, "the tensor table");
  std::vector<uint64_t> entry_offsets;
  for (uint64_t n = 0; n < tensor_count_; ++n) {
    entry_offsets.push_back(in_.offset());
    shard_.tensors.push_back(read_tensor_entry());
  }
  prove_unique_names(entry_offsets);
  if (tensor_count_ == 0) return;  // a vocabulary-only file may end right here
  const auto data_begin = checked_align(in_.offset(), shard_.alignment);
  if (!data_begin || *data_begin > in_.size()) in_.fail("the file ends before its tensor data");
  prove_ranges(*data_begin);
}

void GgufParser::prove_unique_names(const std::vector<uint64_t>& entry_offsets) const {
  const auto& tensors = shard_.tensors;
  std::vector<uint32_t> order(tensors.size());
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    return tensors[a].ref.name < tensors[b].ref.name;
  });
  for (size_t n = 1; n < order.size(); ++n) {
    if (tensors[order[n]].ref.name == tensors[order[n - 1]].ref.name) {
      in_.fail_at(entry_offsets[order[n]],
                  "tensor " + quoted(tensors[order[n]].ref.name) + " appears twice");
    }
  }
}

// Makes offsets absolute. The size of an unsupported type is unknown here, so only its start is
// proven; its bytes are never read.
void GgufParser::prove_ranges(uint64_t data_begin) {
  const uint64_t data_bytes = in_.size() - data_begin;
  std::vector<GgufTensor*> order;
  for (GgufTensor& tensor : shard_.tensors) {
    const std::string shown = "tensor " + quoted(tensor.ref.name);
    if (tensor.offset % shard_.alignment != 0) {
      in_.fail(shown + " starts at " + std::to_string(tensor.offset) +
               ", which is not a multiple of the alignment " + std::to_string(shard_.alignment));
    }
    const uint64_t bytes = tensor.supported ? tensor.ref.bytes() : 0;
    if (tensor.offset > data_bytes || bytes > data_bytes - tensor.offset) {
      in_.fail(shown + " needs " + std::to_string(bytes) + " bytes at " +
               std::to_string(tensor.offset) + " of the data section, which has " +
               std::to_string(data_bytes) + " (incomplete download?)");
    }
    order.push_back(&tensor);
  }
  std::sort(order.begin(), order.end(),
            [](const GgufTensor* a, const GgufTensor* b) { return a->offset < b->offset; });
  for (size_t n = 1; n < order.size(); ++n) {
    const GgufTensor& before = *order[n - 1];
    const uint64_t bytes = before.supported ? before.ref.bytes() : 1;
    if (order[n]->offset - before.offset < bytes) {
      in_.fail("tensors " + quoted(before.ref.name) + " and " + quoted(order[n]->ref.name) +
               " overlap");
    }
  }
  for (GgufTensor& tensor : shard_.tensors) tensor.offset += data_begin;
}

}  // namespace serval
