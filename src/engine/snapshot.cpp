// The file is three parts, each followed by its XXH64: header, tokens, blocks (each block its own
// checksum, seeded with its index so that exchanged blocks are noticed). The header holds the
// file's length, so a truncated copy is known before anything else is read.
#include "engine/snapshot.h"

#include <fmt/format.h>

#include <cstring>

#include "base/bytes.h"
#include "base/check.h"
#include "base/checked.h"
#include "base/quoted.h"
#include "base/xxh64.h"

namespace serval {
namespace {

constexpr std::string_view kMagic = "SERVALKV";
constexpr uint32_t kVersion = 1;
constexpr size_t kMaxText = 256;
constexpr uint64_t kChecksumBytes = sizeof(uint64_t);
constexpr uint64_t kSampleBytes = 4096;

void append(std::string& out, std::string_view text) {
  const auto size = static_cast<uint32_t>(text.size());
  out.append(reinterpret_cast<const char*>(&size), sizeof(size));
  out.append(text);
}

template <typename T>
void append_value(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

std::string header_bytes(const SnapshotHeader& h) {
  std::string out;
  out += kMagic;
  append_value(out, kVersion);
  const size_t length_at = out.size();
  append_value(out, uint64_t{0});  // the file's length, known below
  append_value(out, static_cast<uint32_t>(h.tokens.size()));
  append_value(out, static_cast<uint32_t>(h.blocks));
  append_value(out, h.block_bytes);
  append_value(out, h.fingerprint.model);
  append(out, h.fingerprint.shape);
  append(out, h.fingerprint.kv_type);
  append(out, h.fingerprint.numerics);
  const uint64_t length = out.size() + kChecksumBytes + h.tokens.size() * sizeof(TokenId) +
                          kChecksumBytes +
                          static_cast<uint64_t>(h.blocks) * (h.block_bytes + kChecksumBytes);
  std::memcpy(out.data() + length_at, &length, sizeof(length));
  return out;
}

uint64_t block_checksum(std::span<const std::byte> bytes, int index) {
  return xxh64(bytes, static_cast<uint64_t>(index) + 1);
}

std::string read_text(ByteReader& reader, const char* what) {
  const auto size = reader.read<uint32_t>(what);
  if (size > kMaxText) reader.fail(std::string(what) + " is absurdly long");
  std::string out;
  reader.append_to(out, size, what);
  return out;
}

const char* kv_name(KvType type) {
  switch (type) {
    case KvType::kF32:
      return "f32";
    case KvType::kF16:
      return "f16";
    case KvType::kQ8_0:
      return "q8_0";
  }
  return "";
}

void hash_strings(Xxh64& hash, const GgufStrings& strings) {
  for (size_t i = 0; i < strings.size(); ++i) {
    hash.update_value(static_cast<uint64_t>(strings[i].size()));
    hash.update(strings[i]);
  }
}

void hash_value(Xxh64& hash, const GgufValue& value) {
  hash.update_value(value.type);
  hash.update_value(value.element);
  hash.update_value(value.u);
  hash.update_value(value.i);
  hash.update_value(value.f);
  hash.update(value.s);
  hash_strings(hash, value.strings);
  hash.update(std::as_bytes(std::span(value.floats)));
  hash.update(std::as_bytes(std::span(value.ints)));
}

}  // namespace

Fingerprint fingerprint(LoadedModel& loaded) {
  GgufFile& file = *loaded.file;
  Xxh64 hash;
  hash.update_value(file.file_bytes());
  for (const GgufFile::Entry& entry : file.metadata()) {
    hash.update(entry.key);
    hash_value(hash, entry.value);
  }
  std::vector<std::byte> sample(kSampleBytes);
  for (const GgufTensor& tensor : file.tensors()) {
    hash.update(tensor.ref.name);
    hash.update_value(tensor.gguf_type);
    hash.update(std::as_bytes(std::span(tensor.ne)));
    if (!tensor.supported) continue;
    const uint64_t size = std::min(kSampleBytes, tensor.ref.bytes());
    const auto out = std::span(sample).first(static_cast<size_t>(size));
    file.read(tensor.ref, 0, out);
    hash.update(out);
  }
  const ModelConfig& c = loaded.model->config();
  return {hash.digest(),
          fmt::format("{}, {} layers, {} x {}", c.architecture.substr(0, 64), c.layers, c.kv_heads,
                      c.head_dim),
          kv_name(loaded.kv->type()), loaded.backend->info().numerics_id};
}

SnapshotWriter::SnapshotWriter(const std::string& path, const SnapshotHeader& header)
    : file_(path), blocks_(header.blocks) {
  const std::string head = header_bytes(header);
  put(std::as_bytes(std::span(head)));
  put_checksum(xxh64(std::as_bytes(std::span(head))));
  const auto tokens = std::as_bytes(std::span(header.tokens));
  put(tokens);
  put_checksum(xxh64(tokens));
}

void SnapshotWriter::put(std::span<const std::byte> bytes) {
  file_.write(bytes);
  bytes_ += bytes.size();
}

void SnapshotWriter::put_checksum(uint64_t checksum) {
  put(std::as_bytes(std::span(&checksum, 1)));
}

void SnapshotWriter::add_block(std::span<const std::byte> bytes) {
  put(bytes);
  put_checksum(block_checksum(bytes, blocks_written_));
  ++blocks_written_;
}

void SnapshotWriter::commit() {
  SERVAL_CHECK(blocks_written_ == blocks_);
  file_.commit();
}

SnapshotReader::SnapshotReader(const std::string& path) : file_(File::open(path)) {
  ByteReader reader(file_, path);
  std::string magic;
  if (reader.size() >= kMagic.size()) reader.append_to(magic, kMagic.size(), "magic");
  if (magic != kMagic) reader.fail_at(0, "not a KV snapshot");
  const auto version = reader.read<uint32_t>("version");
  if (version != kVersion) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("{}: snapshot version {}, but this build reads version {}", path,
                            version, kVersion));
  }
  const auto length = reader.read<uint64_t>("length");
  if (length != reader.size()) {
    reader.fail_at(
        12, fmt::format("the file has {} bytes, but was written with {}", reader.size(), length));
  }
  const auto tokens = reader.read<uint32_t>("token count");
  const auto blocks = reader.read<uint32_t>("block count");
  header_.block_bytes = reader.read<uint64_t>("block size");
  header_.fingerprint.model = reader.read<uint64_t>("model digest");
  header_.fingerprint.shape = read_text(reader, "model shape");
  header_.fingerprint.kv_type = read_text(reader, "KV type");
  header_.fingerprint.numerics = read_text(reader, "numerics");
  const uint64_t header_end = reader.offset();
  std::vector<std::byte> head(static_cast<size_t>(header_end));
  file_.read_at(0, head);
  if (reader.read<uint64_t>("header checksum") != xxh64(head)) {
    reader.fail_at(0, "the header is damaged: its checksum does not match");
  }
  reader.require(tokens, sizeof(TokenId), "the token list");
  std::string bytes;
  const uint64_t tokens_at = reader.offset();
  reader.append_to(bytes, uint64_t{tokens} * sizeof(TokenId), "the token list");
  if (reader.read<uint64_t>("token checksum") != xxh64(std::as_bytes(std::span(bytes)))) {
    reader.fail_at(tokens_at, "the token list is damaged: its checksum does not match");
  }
  header_.tokens.resize(tokens);
  if (tokens > 0) std::memcpy(header_.tokens.data(), bytes.data(), bytes.size());
  blocks_offset_ = reader.offset();
  const auto one = checked_add(header_.block_bytes, kChecksumBytes);
  const auto all = one ? checked_mul(*one, blocks) : std::nullopt;
  if (!all || *all != reader.left() || blocks > tokens / static_cast<uint32_t>(kBlockTokens)) {
    reader.fail(
        fmt::format("{} blocks of {} bytes do not fit the file", blocks, header_.block_bytes));
  }
  header_.blocks = static_cast<int>(blocks);
}

void SnapshotReader::require(const Fingerprint& expected, uint64_t block_bytes) const {
  const Fingerprint& found = header_.fingerprint;
  const auto refuse = [&](std::string_view what, std::string_view theirs, std::string_view ours) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: the snapshot was made with another {} ({}; here {})", file_.path(),
                            what, quoted(theirs), quoted(ours)));
  };
  if (found.shape != expected.shape) refuse("model", found.shape, expected.shape);
  if (found.model != expected.model) {
    refuse("model file", fmt::format("digest {:016x}", found.model),
           fmt::format("digest {:016x}", expected.model));
  }
  if (found.kv_type != expected.kv_type) refuse("KV type", found.kv_type, expected.kv_type);
  if (found.numerics != expected.numerics) refuse("backend", found.numerics, expected.numerics);
  if (header_.block_bytes != block_bytes) {
    refuse("block layout", std::to_string(header_.block_bytes), std::to_string(block_bytes));
  }
}

void SnapshotReader::read_block(int index, std::span<std::byte> out) const {
  SERVAL_CHECK(index >= 0 && index < header_.blocks && out.size() == header_.block_bytes);
  const uint64_t at =
      blocks_offset_ + static_cast<uint64_t>(index) * (header_.block_bytes + kChecksumBytes);
  file_.read_at(at, out);
  uint64_t checksum = 0;
  file_.read_at(at + header_.block_bytes, std::as_writable_bytes(std::span(&checksum, 1)));
  if (checksum != block_checksum(out, index)) {
    throw Error(ErrorCode::kCorrupt,
                fmt::format("{}: offset {}: block {} is damaged: its checksum does not match",
                            file_.path(), at, index));
  }
}

}  // namespace serval
