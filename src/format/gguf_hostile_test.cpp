// Files made to break a reader. The groups follow the root causes of published GGUF
// vulnerabilities; the numbers in the comments are the CVEs whose mechanism a case replays. Each
// must end in Error(kCorrupt), quickly and without memory beyond the size of the file.
#include <sys/resource.h>

#include <random>
#include <string>
#include <vector>

#include "format/gguf.h"
#include "format/gguf_bytes.h"
#include "gtest/gtest.h"
#include "serval/error.h"

namespace serval {
namespace {

constexpr uint64_t kHuge = UINT64_MAX;
constexpr uint32_t kF32 = 0;
constexpr uint32_t kQ8 = 8;

struct Case {
  const char* name;
  GgufBytes image;
  const char* words;  // must be in the message
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

GgufBytes image() { return {}; }

// A valid string entry followed by a hole, for cases that need bytes to be left.
GgufBytes padded(GgufBytes bytes) { return bytes.raw(std::string(4096, '\0')); }

// Row 1: counts, lengths and dimension products that wrap or exceed the file.
std::vector<Case> counts_and_products() {
  const auto one_tensor = [](const std::vector<uint64_t>& ne, uint32_t type, uint64_t offset = 0) {
    return image().header(1, 0).tensor("t", ne, type, offset).data(64);
  };
  return {
      // CVE-2024-21802, 21825, 21836, 23496, 23605: header fields used as allocation sizes
      {"TensorCountMax", padded(image().header(kHuge, 0)), "tensor count"},
      {"TensorCountWraps", padded(image().header(kHuge / 56 + 1, 0)), "tensor count"},
      {"TensorCountBeyondFile", padded(image().header(1000, 0)), "tensor count"},
      {"EntryCountMax", padded(image().header(0, kHuge)), "metadata count"},
      {"EntryCountWraps", padded(image().header(0, (1ull << 61) + 1)), "metadata count"},
      {"EntryCountBeyondFile", padded(image().header(0, 5000)), "metadata count"},
      {"EntryCountOneTooMany",
       image().header(0, 2).key("a", GgufType::kUint64).number<uint64_t>(1).raw("1234567"),
       "offset"},
      {"KeyLengthMax", padded(image().header(0, 1).number(kHuge)), "metadata key"},
      {"KeyLengthBeyondFile", padded(image().header(0, 1).number<uint64_t>(5000)), "metadata key"},
      {"KeyTooLong", padded(image().header(0, 1).string(std::string(70000, 'k'))), "limit"},
      {"StringLengthMax", padded(image().header(0, 1).key("k", GgufType::kString).number(kHuge)),
       "metadata string"},
      {"StringLengthMaxMinusOne",  // CVE-2024-23496: length + 1 wraps to zero
       padded(image().header(0, 1).key("k", GgufType::kString).number(kHuge - 1)),
       "metadata string"},
      // CVE-2024-23605, 2026-33298, 2025-53630: counts times element sizes
      {"ArrayCountMax", padded(image().header(0, 1).array("k", GgufType::kUint8, kHuge)),
       "array length"},
      {"ArrayCountTimesSizeWraps",
       padded(image().header(0, 1).array("k", GgufType::kUint64, 1ull << 61)), "array length"},
      {"ArrayOfStringsCountWraps",
       padded(image().header(0, 1).array("k", GgufType::kString, (1ull << 60) + 1)),
       "array length"},
      {"ArrayBeyondFile", padded(image().header(0, 1).array("k", GgufType::kUint32, 2000)),
       "array length"},
      {"StringInArrayMax",
       padded(image().header(0, 1).array("k", GgufType::kString, 1).number(kHuge)), "array string"},
      {"StringsInArraySumBeyondFile",
       image()
           .header(0, 1)
           .array("k", GgufType::kString, 2)
           .string("abc")
           .number<uint64_t>(9)
           .raw("x"),
       "array string"},
      // CVE-2025-53630, 2026-27940, 2026-33298: dimension products and padded sums
      {"DimensionProductWrapsToZero", one_tensor({1ull << 32, 1ull << 32}, kF32), "overflow"},
      {"DimensionProductWrapsToSmall", one_tensor({32, (1ull << 59) + 1, 32}, kF32), "dimension"},
      {"DimensionNegative", one_tensor({32, kHuge}, kF32), "dimension"},
      {"DimensionSignBit", one_tensor({1ull << 63}, kF32), "dimension"},
      {"DimensionZero", one_tensor({0}, kF32), "dimension"},
      {"DimensionLaterZero", one_tensor({32, 0, 4}, kF32), "dimension"},
      {"BytesWrap", one_tensor({1ull << 62}, kF32), "overflow"},
      {"BytesWrapInRows", one_tensor({1ull << 40, 1ull << 22, 2}, kF32), "overflow"},
      {"FourDimensionsWrap", one_tensor({1ull << 16, 1ull << 16, 1ull << 16, 1ull << 16}, kF32),
       "overflow"},
      {"TooManyDimensions", one_tensor({1, 1, 1, 1, 1}, kF32), "dimensions"},
      {"NoDimensions", one_tensor({}, kF32), "dimensions"},
      {"RowNotWholeBlocks", one_tensor({33, 1}, kQ8), "multiple"},
      {"OffsetPlusSizeWraps", one_tensor({16}, kF32, kHuge - 31), "data section"},
      {"AlignmentZero",
       image()
           .header(1, 1)
           .key("general.alignment", GgufType::kUint32)
           .number<uint32_t>(0)
           .tensor("t", {1}, kF32, 0)
           .data(64),
       "general.alignment"},
      {"AlignmentOdd",
       image()
           .header(1, 1)
           .key("general.alignment", GgufType::kUint32)
           .number<uint32_t>(48)
           .tensor("t", {1}, kF32, 0)
           .data(64),
       "general.alignment"},
      {"AlignmentHuge",
       image()
           .header(1, 1)
           .key("general.alignment", GgufType::kUint32)
           .number(1u << 31)
           .tensor("t", {1}, kF32, 0)
           .data(64),
       "general.alignment"},
      {"AlignmentWraps",
       image()
           .header(1, 1)
           .key("general.alignment", GgufType::kUint64)
           .number(1ull << 63)
           .tensor("t", {1}, kF32, 0)
           .data(64),
       "general.alignment"},
      {"AlignmentWrongType",
       image()
           .header(1, 1)
           .key("general.alignment", GgufType::kString)
           .string("32")
           .tensor("t", {1}, kF32, 0)
           .data(64),
       "general.alignment"},
  };
}

// Row 2: the end of the file at every place where a half-built object could be left behind.
std::vector<Case> ends_early() {
  return {
      {"Empty", image(), "empty"},  // CVE-2024-39720: a few bytes crash the server
      {"MagicOnly", image().raw("GGUF"), "offset 4"},
      {"NoCounts", image().raw("GGUF").number<uint32_t>(3), "offset 8"},
      {"NoEntryCount", image().raw("GGUF").number<uint32_t>(3).number<uint64_t>(0), "offset 16"},
      {"InsideKey", image().header(0, 1).number<uint64_t>(20).raw("only ten b"), "metadata"},
      {"InsideValue", image().header(0, 1).key("key", GgufType::kUint64).raw("1234567"),
       "metadata value"},
      {"InsideArrayHeader",
       image().header(0, 1).key("key", GgufType::kArray).number<uint32_t>(4).raw("1234567"),
       "array length"},
      {"InsideTensorEntry",
       image().header(1, 0).string("t").number<uint32_t>(4).raw(std::string(24, '\1')), "tensor"},
      {"BeforeTensorData", image().header(1, 0).tensor("t", {64}, kF32, 0), "data"},
      {"InsideTensorData", image().header(1, 0).tensor("t", {64}, kF32, 0).data(255),
       "incomplete download"},
  };
}

// Row 3: declared ranges beyond the file, or into another object.
std::vector<Case> ranges() {
  // CVE-2026-7482, 2024-12055, 2025-0313: a tensor larger than the file leaks memory behind it
  return {
      {"TensorBeyondFile", image().header(1, 0).tensor("t", {1000}, kF32, 0).data(64),
       "data section"},
      {"OffsetBeyondFile", image().header(1, 0).tensor("t", {1}, kF32, 1 << 20).data(64),
       "data section"},
      {"OffsetOfUnknownTypeBeyondFile", image().header(1, 0).tensor("t", {1}, 99, 1 << 20).data(64),
       "data section"},
      {"Unaligned", image().header(1, 0).tensor("t", {1}, kF32, 4).data(64), "alignment"},
      {"SameRange",
       image().header(2, 0).tensor("a", {8}, kF32, 0).tensor("b", {8}, kF32, 0).data(64),
       "overlap"},
      {"PartialOverlap",
       image().header(2, 0).tensor("a", {8}, kF32, 32).tensor("b", {16}, kF32, 0).data(64),
       "overlap"},
      {"OverlapWithUnknownType",
       image().header(2, 0).tensor("a", {8}, 99, 0).tensor("b", {8}, kF32, 0).data(64), "overlap"},
      {"SameTensorName",
       image().header(2, 0).tensor("a", {8}, kF32, 0).tensor("a", {8}, kF32, 32).data(64),
       "appears twice"},
      {"SameKey",
       image()
           .header(0, 2)
           .key("k", GgufType::kBool)
           .number<uint8_t>(1)
           .key("k", GgufType::kBool)
           .number<uint8_t>(0),
       "appears twice"},
  };
}

// Row 4: values and types outside their sets.
std::vector<Case> meaningless_values() {
  const auto entry = [](uint32_t type) { return padded(image().header(0, 1).key("k", type)); };
  return {
      {"ValueType13", entry(13), "value type"},
      {"ValueTypeMax", entry(UINT32_MAX), "value type"},
      {"ElementType13",
       padded(image().header(0, 1).key("k", GgufType::kArray).number<uint32_t>(13).number(1ull)),
       "element type"},
      {"NestedArray", padded(image().header(0, 1).array("k", GgufType::kArray, 1)),
       "arrays of arrays"},
      {"BooleanTwo", image().header(0, 1).key("k", GgufType::kBool).number<uint8_t>(2), "boolean"},
      {"BooleanArrayTwo", image().header(0, 1).array("k", GgufType::kBool, 1).number<uint8_t>(2),
       "boolean"},
      {"ArrayNumberBeyondInt64",
       image().header(0, 1).array("k", GgufType::kUint64, 1).number(kHuge), "64-bit"},
      {"EmptyKey", padded(image().header(0, 1).key("", GgufType::kUint8)), "usable name"},
      {"KeyWithLineBreak", padded(image().header(0, 1).key("a\nb", GgufType::kUint8)),
       "usable name"},
      {"KeyNotUtf8", padded(image().header(0, 1).key("\xFF\xFE", GgufType::kUint8)), "usable name"},
      {"EmptyTensorName", image().header(1, 0).tensor("", {1}, kF32, 0).data(64), "usable name"},
      {"TensorNameTooLong",
       image().header(1, 0).tensor(std::string(300, 'n'), {1}, kF32, 0).data(64), "limit"},
      {"TensorNameWithNul",
       image().header(1, 0).tensor(std::string_view("a\0b", 3), {1}, kF32, 0).data(64),
       "usable name"},
  };
}

class Hostile : public ::testing::TestWithParam<Case> {};

TEST_P(Hostile, IsRefused) {
  try {
    GetParam().image.parse();
    FAIL() << "was opened";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCorrupt) << error.message();
    EXPECT_NE(error.message().find(GetParam().words), std::string::npos) << error.message();
    EXPECT_EQ(error.message().find('\n'), std::string::npos);
    EXPECT_EQ(error.message().find("image: "), 0u) << error.message();
  }
}

std::string case_name(const ::testing::TestParamInfo<Case>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(Counts, Hostile, ::testing::ValuesIn(counts_and_products()), case_name);
INSTANTIATE_TEST_SUITE_P(EndsEarly, Hostile, ::testing::ValuesIn(ends_early()), case_name);
INSTANTIATE_TEST_SUITE_P(Ranges, Hostile, ::testing::ValuesIn(ranges()), case_name);
INSTANTIATE_TEST_SUITE_P(Values, Hostile, ::testing::ValuesIn(meaningless_values()), case_name);

GgufBytes small_model() {
  GgufBytes model;
  model.header(3, 5);
  model.key("general.architecture", GgufType::kString).string("llama");
  model.key("general.alignment", GgufType::kUint32).number<uint32_t>(64);
  model.array("tokens", GgufType::kString, 3).string("<unk>").string("a").string("bc");
  model.array("scores", GgufType::kFloat32, 2).number(0.5f).number(-1.0f);
  model.key("flag", GgufType::kBool).number<uint8_t>(1);
  model.tensor("a", {32, 2}, kQ8, 0).tensor("b", {3, 5}, kF32, 128).tensor("c", {1}, kF32, 192);
  return model.data(256, 64);
}

// Opens and touches everything; only an Error may come out.
void exercise(const std::string& bytes) {
  try {
    const auto file = GgufFile::parse(std::as_bytes(std::span(bytes)), "image");
    for (const GgufTensor& tensor : file->tensors()) {
      if (!tensor.supported) continue;
      std::vector<std::byte> data(tensor.ref.bytes());
      file->read(tensor.ref, 0, data);
    }
  } catch (const Error&) {
  }
}

TEST(HostileSweep, CutAtEveryByte) {
  const std::string whole = small_model().bytes();
  EXPECT_NO_THROW(GgufFile::parse(std::as_bytes(std::span(whole)), "image"));
  for (size_t length = 0; length < whole.size() - 64 + 4; ++length) {
    const std::string cut = whole.substr(0, length);
    EXPECT_THROW(GgufFile::parse(std::as_bytes(std::span(cut)), "image"), Error) << length;
  }
}

TEST(HostileSweep, EveryBitFlipped) {
  const std::string whole = small_model().bytes();
  for (size_t bit = 0; bit < whole.size() * 8; ++bit) {
    std::string flipped = whole;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    exercise(flipped);
  }
}

TEST(HostileSweep, EveryFieldExtreme) {
  const std::string whole = small_model().bytes();
  for (const uint64_t value : {uint64_t{0}, kHuge, kHuge - 1, kHuge / 2, kHuge / 2 + 1,
                               uint64_t{1} << 32, (uint64_t{1} << 61) + 1}) {
    for (size_t at = 0; at + 8 <= whole.size(); ++at) {
      std::string changed = whole;
      changed.replace(at, 8, reinterpret_cast<const char*>(&value), 8);
      exercise(changed);
    }
  }
}

// Declared sizes must not become memory: peak use stays near the size of the image.
TEST(HostileMemory, FollowsTheBytesPresent) {
  rusage before{};
  getrusage(RUSAGE_SELF, &before);
  GgufBytes big;
  big.header(0, 1).array("k", GgufType::kString, 1 << 20).raw(std::string(9 << 20, '\0'));
  big.parse();  // a million empty strings: legal, 8 bytes each
  for (const auto& group : {counts_and_products(), ends_early(), ranges()}) {
    for (const Case& c : group) exercise(c.image.bytes());
  }
  rusage after{};
  getrusage(RUSAGE_SELF, &after);
  EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 64 * 1024) << "KiB";
}

}  // namespace
}  // namespace serval
