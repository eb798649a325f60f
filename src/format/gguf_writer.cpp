// The layout is drawn in gguf_parser.cpp. Metadata and tensor table are small, so they are built in
// memory; tensor data goes straight to the sink, padded after each tensor (the last one too, as
// other writers do).
#include "format/gguf_writer.h"

#include <algorithm>
#include <bit>
#include <type_traits>

#include "base/check.h"
#include "base/checked.h"

namespace serval {
namespace {

constexpr uint64_t kDefaultAlignment = 32;

template <typename T>
void append(std::string& out, T value) {
  static_assert(std::is_arithmetic_v<T>);
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void append_string(std::string& out, std::string_view text) {
  append<uint64_t>(out, text.size());
  out.append(text);
}

template <typename T, typename Values>
void append_all(std::string& out, const Values& values) {
  for (const auto value : values) append<T>(out, static_cast<T>(value));
}

void append_scalar(std::string& out, GgufType type, const GgufValue& value) {
  switch (type) {
    case GgufType::kUint8:
    case GgufType::kBool:
      return append(out, static_cast<uint8_t>(value.u));
    case GgufType::kUint16:
      return append(out, static_cast<uint16_t>(value.u));
    case GgufType::kUint32:
      return append(out, static_cast<uint32_t>(value.u));
    case GgufType::kUint64:
      return append(out, value.u);
    case GgufType::kInt8:
      return append(out, static_cast<int8_t>(value.i));
    case GgufType::kInt16:
      return append(out, static_cast<int16_t>(value.i));
    case GgufType::kInt32:
      return append(out, static_cast<int32_t>(value.i));
    case GgufType::kInt64:
      return append(out, value.i);
    case GgufType::kFloat32:
      return append(out, static_cast<float>(value.f));
    case GgufType::kFloat64:
      return append(out, value.f);
    case GgufType::kString:
      return append_string(out, value.s);
    case GgufType::kArray:
      SERVAL_CHECK(type != GgufType::kArray);
  }
}

void append_items(std::string& out, const GgufValue& value) {
  switch (value.element) {
    case GgufType::kUint8:
    case GgufType::kBool:
      return append_all<uint8_t>(out, value.ints);
    case GgufType::kUint16:
      return append_all<uint16_t>(out, value.ints);
    case GgufType::kUint32:
      return append_all<uint32_t>(out, value.ints);
    case GgufType::kUint64:
      return append_all<uint64_t>(out, value.ints);
    case GgufType::kInt8:
      return append_all<int8_t>(out, value.ints);
    case GgufType::kInt16:
      return append_all<int16_t>(out, value.ints);
    case GgufType::kInt32:
      return append_all<int32_t>(out, value.ints);
    case GgufType::kInt64:
      return append_all<int64_t>(out, value.ints);
    case GgufType::kFloat32:
      return append_all<float>(out, value.floats);
    case GgufType::kFloat64:
      return append_all<double>(out, value.floats);
    case GgufType::kString:
      for (size_t n = 0; n < value.strings.size(); ++n) append_string(out, value.strings[n]);
      return;
    case GgufType::kArray:
      SERVAL_CHECK(value.element != GgufType::kArray);
  }
}

}  // namespace

GgufWriter::GgufWriter(ByteSink& sink, uint64_t alignment) : sink_(sink), alignment_(alignment) {
  SERVAL_CHECK(std::has_single_bit(alignment));
  if (alignment != kDefaultAlignment) {
    add_uint32("general.alignment", static_cast<uint32_t>(alignment));
  }
}

void GgufWriter::begin_entry(std::string_view key, GgufType type) {
  SERVAL_CHECK(!header_written_);
  append_string(entries_, key);
  append(entries_, static_cast<uint32_t>(type));
  ++entry_count_;
}

void GgufWriter::begin_array(std::string_view key, GgufType element, uint64_t count) {
  begin_entry(key, GgufType::kArray);
  append(entries_, static_cast<uint32_t>(element));
  append(entries_, count);
}

void GgufWriter::add(std::string_view key, const GgufValue& value) {
  if (value.type == GgufType::kArray) {
    begin_array(key, value.element, value.array_size());
    append_items(entries_, value);
  } else {
    begin_entry(key, value.type);
    append_scalar(entries_, value.type, value);
  }
}

void GgufWriter::add_string(std::string_view key, std::string_view value) {
  begin_entry(key, GgufType::kString);
  append_string(entries_, value);
}

void GgufWriter::add_uint32(std::string_view key, uint32_t value) {
  begin_entry(key, GgufType::kUint32);
  append(entries_, value);
}

void GgufWriter::add_float32(std::string_view key, float value) {
  begin_entry(key, GgufType::kFloat32);
  append(entries_, value);
}

void GgufWriter::add_bool(std::string_view key, bool value) {
  begin_entry(key, GgufType::kBool);
  append<uint8_t>(entries_, value ? 1 : 0);
}

void GgufWriter::add_strings(std::string_view key, std::span<const std::string> values) {
  begin_array(key, GgufType::kString, values.size());
  for (const std::string& value : values) append_string(entries_, value);
}

void GgufWriter::add_ints(std::string_view key, std::span<const int32_t> values) {
  begin_array(key, GgufType::kInt32, values.size());
  append_all<int32_t>(entries_, values);
}

void GgufWriter::add_floats(std::string_view key, std::span<const float> values) {
  begin_array(key, GgufType::kFloat32, values.size());
  append_all<float>(entries_, values);
}

void GgufWriter::add_tensor(std::string_view name, DType type, std::span<const uint64_t> ne) {
  SERVAL_CHECK(!header_written_ && !ne.empty() && ne.size() <= 4);
  append_string(tensor_table_, name);
  append(tensor_table_, static_cast<uint32_t>(ne.size()));
  append_all<uint64_t>(tensor_table_, ne);
  append(tensor_table_, info(type).gguf_id);
  append(tensor_table_, data_bytes_);
  uint64_t bytes = row_bytes(type, ne[0]);
  for (const uint64_t extent : ne.subspan(1)) bytes *= extent;
  tensor_bytes_.push_back(bytes);
  data_bytes_ = *checked_align(data_bytes_ + bytes, alignment_);
}

void GgufWriter::write_header() {
  std::string header = "GGUF";
  append<uint32_t>(header, 3);
  append<uint64_t>(header, tensor_bytes_.size());
  append(header, entry_count_);
  const uint64_t end = header.size() + entries_.size() + tensor_table_.size();
  tensor_table_.append(*checked_align(end, alignment_) - end, '\0');
  for (const std::string* part : {&header, &entries_, &tensor_table_}) {
    sink_.write(std::as_bytes(std::span(*part)));
  }
  header_written_ = true;
}

void GgufWriter::pad_to_alignment() {
  static constexpr std::byte kZeros[64] = {};
  uint64_t padding = *checked_align(current_written_, alignment_) - current_written_;
  while (padding > 0) {
    const auto piece = std::min<uint64_t>(padding, sizeof kZeros);
    sink_.write(std::span(kZeros).first(static_cast<size_t>(piece)));
    padding -= piece;
  }
}

void GgufWriter::write(std::span<const std::byte> bytes) {
  if (!header_written_) write_header();
  while (!bytes.empty()) {
    SERVAL_CHECK(current_tensor_ < tensor_bytes_.size());
    const uint64_t missing = tensor_bytes_[current_tensor_] - current_written_;
    const auto piece = static_cast<size_t>(std::min<uint64_t>(missing, bytes.size()));
    sink_.write(bytes.first(piece));
    bytes = bytes.subspan(piece);
    current_written_ += piece;
    if (current_written_ < tensor_bytes_[current_tensor_]) continue;
    pad_to_alignment();
    ++current_tensor_;
    current_written_ = 0;
  }
}

void GgufWriter::finish() {
  if (!header_written_) write_header();
  SERVAL_CHECK(current_tensor_ == tensor_bytes_.size());
}

}  // namespace serval
