// Packing is a permutation of bits: each GGUF block of each of the 16 rows lands, whole, in one
// panel block. All work is on 32-bit words, four k at a time, of four rows at once: word j of a
// row's chunk goes to byte 4 * row of line j. GGUF block layouts: github.com/ggml-org/ggml,
// ggml-common.h; see also docs/kernels.md.
#include "backend/cpu/panels/pack.h"

#include <array>
#include <cstring>

#include "backend/cpu/kernel_table.h"

namespace serval::cpu {
namespace {

constexpr int kQuad = 4;

// The same word of four rows. Vectors of this size need no more than SSE2.
using Words = uint32_t __attribute__((vector_size(16)));
using Bytes = uint8_t __attribute__((vector_size(16)));

// The same block of four rows, `row` of the panel the first of them.
struct Blocks {
  const uint8_t* first;
  size_t stride;
  int row;
  const uint8_t* operator[](int i) const { return first + static_cast<size_t>(i) * stride; }
};

// Word by word what each of the four blocks holds from byte `at` on.
template <size_t kCount>
std::array<Words, kCount> load_words(const Blocks& in, int at) {
  static_assert(kCount % 4 == 0);
  std::array<Words, kCount> words;
  for (size_t i = 0; i < kCount; i += 4) {
    Words r[kQuad];
    for (int t = 0; t < kQuad; ++t) std::memcpy(&r[t], in[t] + at + 4 * i, sizeof(Words));
    const Words low_a = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5);
    const Words high_a = __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7);
    const Words low_b = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5);
    const Words high_b = __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);
    words[i] = __builtin_shufflevector(low_a, low_b, 0, 1, 4, 5);
    words[i + 1] = __builtin_shufflevector(low_a, low_b, 2, 3, 6, 7);
    words[i + 2] = __builtin_shufflevector(high_a, high_b, 0, 1, 4, 5);
    words[i + 3] = __builtin_shufflevector(high_a, high_b, 2, 3, 6, 7);
  }
  return words;
}

Words load_word(const Blocks& in, int at) {
  Words word;
  for (int t = 0; t < kQuad; ++t) {
    uint32_t one = 0;
    std::memcpy(&one, in[t] + at, sizeof(one));
    word[t] = one;
  }
  return word;
}

constexpr uint32_t kLowNibbles = 0x0F0F0F0F;
constexpr uint32_t kOnes = 0x01010101;
constexpr uint32_t kThrees = 0x03030303;

// ---- pieces: four rows of one chunk. `lines` is the first line, `row` the first row in the panel.

void put_line(Words words, int row, uint8_t* line) {
  std::memcpy(line + 4 * row, &words, sizeof(words));
}

// Nibbles in GGUF order of 32-element blocks (k and k + 16 share a byte) are in panel order
// already.
void put_nibbles(const std::array<Words, 4>& q, int row, uint8_t* lines) {
  for (size_t j = 0; j < 4; ++j) put_line(q[j], row, lines + 64 * j);
}

// 32 bytes whose `half` (0 low, 1 high) nibbles are the 32 elements of a chunk.
void put_split_nibbles(const std::array<Words, 8>& q, int half, int row, uint8_t* lines) {
  for (size_t j = 0; j < 4; ++j) {
    const Words near = q[j] >> (4 * half) & kLowNibbles;
    const Words far = q[4 + j] >> (4 * half) & kLowNibbles;
    put_line(near | far << 4, row, lines + 64 * j);
  }
}

// Bit `bit` of 32 bytes, one per element.
void put_bits(const std::array<Words, 8>& bytes, int bit, int row, uint8_t* line) {
  Words word = {};
  for (int g = 0; g < 8; ++g) word |= (bytes[static_cast<size_t>(g)] >> bit & kOnes) << g;
  put_line(word, row, line);
}

// 32 bits, bit k of element k. Bit 4g + b becomes bit 8b + g: its number's five bits turn by two,
// which four exchanges do (of bits 4 and 1 of the number, 3 and 0, 2 and 1, 1 and 0).
void put_bit_mask(Words mask, int row, uint8_t* line) {
  const auto exchange = [&](int distance, uint32_t lower) {
    const Words moved = (mask >> distance ^ mask) & lower;
    mask ^= moved | moved << distance;
  };
  exchange(14, 0x0000CCCC);
  exchange(7, 0x00AA00AA);
  exchange(2, 0x0C0C0C0C);
  exchange(1, 0x22222222);
  put_line(mask, row, line);
}

// Bits 2 * pair and 2 * pair + 1 of 32 bytes, one per element.
void put_pairs(const std::array<Words, 8>& bytes, int pair, int row, uint8_t* lines) {
  for (int p = 0; p < 2; ++p) {
    Words word = {};
    for (int g = 0; g < 4; ++g) {
      word |= (bytes[static_cast<size_t>(4 * p + g)] >> (2 * pair) & kThrees) << (2 * g);
    }
    put_line(word, row, lines + 64 * p);
  }
}

// Byte i of a word to lines of 16 bytes, one per row.
void put_bytes(Words words, int row, uint8_t* lines) {
  Bytes b;
  std::memcpy(&b, &words, sizeof(b));
  // Twice each byte of the first half beside its like in the second: rows 0 2 1 3, then 0 1 2 3.
  for (int i = 0; i < 2; ++i) {
    b = __builtin_shufflevector(b, b, 0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
  }
  uint8_t bytes[sizeof(b)];
  std::memcpy(bytes, &b, sizeof(b));
  for (int i = 0; i < 4; ++i) std::memcpy(lines + 16 * i + row, bytes + kQuad * i, kQuad);
}

// Byte `at` of each block.
void put_byte(const Blocks& in, int at, uint8_t* line) {
  for (int t = 0; t < kQuad; ++t) line[in.row + t] = in[t][at];
}

void put_halves(const Blocks& in, int at, uint8_t* line) {
  for (int t = 0; t < kQuad; ++t) std::memcpy(line + 2 * (in.row + t), in[t] + at, 2);
}

// ---- blocks: those of four rows into the panel block `out`

void pack_q4_0(const Blocks& in, uint8_t* out) {
  put_halves(in, 0, out);
  put_nibbles(load_words<4>(in, 2), in.row, out + 32);
}

void pack_q4_1(const Blocks& in, uint8_t* out) {
  put_halves(in, 0, out);
  put_halves(in, 2, out + 32);
  put_nibbles(load_words<4>(in, 4), in.row, out + 64);
}

void pack_q5_0(const Blocks& in, uint8_t* out) {
  put_halves(in, 0, out);
  put_bit_mask(load_word(in, 2), in.row, out + 32);
  put_nibbles(load_words<4>(in, 6), in.row, out + 96);
}

void pack_q5_1(const Blocks& in, uint8_t* out) {
  put_halves(in, 0, out);
  put_halves(in, 2, out + 32);
  put_bit_mask(load_word(in, 4), in.row, out + 64);
  put_nibbles(load_words<4>(in, 8), in.row, out + 128);
}

void pack_q8_0(const Blocks& in, uint8_t* out) {
  put_halves(in, 0, out);
  const auto q = load_words<8>(in, 2);
  for (size_t j = 0; j < 8; ++j) put_line(q[j] ^ 0x80808080U, in.row, out + 32 + 64 * j);
}

void pack_mxfp4(const Blocks& in, uint8_t* out) {
  put_byte(in, 0, out);
  put_nibbles(load_words<4>(in, 1), in.row, out + 16);
}

// Nibbles of 256 elements: 64 share 32 bytes. `step` bytes from chunk to chunk.
void put_k_nibbles(const Blocks& in, int at, uint8_t* lines, int step) {
  for (int i = 0; i < 4; ++i, lines += 2 * step) {
    const auto q = load_words<8>(in, at + 32 * i);
    put_split_nibbles(q, 0, in.row, lines);
    put_split_nibbles(q, 1, in.row, lines + step);
  }
}

// The 12 bytes of eight 6-bit scales and mins, as three words of four bytes:
//   a: scales 0 - 3, above them two high bits of scales 4 - 7;  b: the same of mins
//   c: the low halves of scales 4 - 7, of mins 4 - 7 above them
void put_k_scales(const Blocks& in, int at, uint8_t* out) {
  const auto [a, b, c, unused] = load_words<4>(in, at);
  put_bytes((a & kLowNibbles) | (b & kLowNibbles) << 4, in.row, out);
  put_bytes(c, in.row, out + 64);
  // High bits of four sub-blocks, a byte each, in the low halves of two bytes.
  const auto join = [](Words high) {
    const Words two = (high | high >> 4) & 0x00FF00FF;
    return (two | two >> 8) & 0xFFFF;
  };
  const Words near = join((a >> 4 & kThrees) | (b >> 4 & kThrees) << 2);
  const Words far = join((a >> 6 & kThrees) | (b >> 6 & kThrees) << 2);
  put_bytes(near | far << 16, in.row, out + 128);
}

void pack_q4_k(const Blocks& in, uint8_t* out) {
  put_halves(in, 0, out);
  put_halves(in, 2, out + 32);
  put_k_scales(in, 4, out + 64);
  put_k_nibbles(in, 16, out + 256, 256);
}

void pack_q5_k(const Blocks& in, uint8_t* out) {
  put_halves(in, 0, out);
  put_halves(in, 2, out + 32);
  put_k_scales(in, 4, out + 64);
  const auto high = load_words<8>(in, 16);
  for (int c = 0; c < 8; ++c) put_bits(high, c, in.row, out + 256 + 320 * c);
  put_k_nibbles(in, 48, out + 320, 320);
}

// Half n, chunk 4n + c: nibble (c / 2) of ql[64n + 32(c % 2) ..], pair c of qh[32n ..].
void pack_q6_k(const Blocks& in, uint8_t* out) {
  put_halves(in, 208, out);
  const auto scales = load_words<4>(in, 192);
  for (size_t i = 0; i < 4; ++i) put_bytes(scales[i], in.row, out + 32 + 64 * i);
  uint8_t* chunk = out + 288;
  for (int n = 0; n < 2; ++n) {
    const auto high = load_words<8>(in, 128 + 32 * n);
    const std::array low = {load_words<8>(in, 64 * n), load_words<8>(in, 64 * n + 32)};
    for (int c = 0; c < 4; ++c, chunk += 384) {
      put_pairs(high, c, in.row, chunk);
      put_split_nibbles(low[static_cast<size_t>(c % 2)], c / 2, in.row, chunk + 128);
    }
  }
}

// Pairs of 256 elements: 128 share 32 bytes. `step` bytes from chunk to chunk.
void put_k_pairs(const Blocks& in, int at, uint8_t* lines, int step) {
  for (int n = 0; n < 2; ++n) {
    const auto q = load_words<8>(in, at + 32 * n);
    for (int c = 0; c < 4; ++c, lines += step) put_pairs(q, c, in.row, lines);
  }
}

void pack_q2_k(const Blocks& in, uint8_t* out) {
  put_halves(in, 80, out);
  put_halves(in, 82, out + 32);
  const auto scales = load_words<4>(in, 0);
  for (size_t i = 0; i < 4; ++i) put_bytes(scales[i], in.row, out + 64 + 64 * i);
  put_k_pairs(in, 16, out + 320, 128);
}

// Scale i: low half in the low (i < 8) or high nibble of byte i % 8, high bits in byte 8 + i % 4.
void put_q3_k_scales(const uint8_t* s, int row, uint8_t* out) {
  const auto low_bits = [&](int i) { return i < 8 ? s[i] & 15 : s[i - 8] >> 4; };
  const auto high_bits = [&](int i) { return s[8 + i % 4] >> (2 * (i / 4)) & 3; };
  for (int c = 0; c < 8; ++c) {
    out[16 * c + row] = static_cast<uint8_t>(low_bits(2 * c) | low_bits(2 * c + 1) << 4);
  }
  for (int i = 0; i < 4; ++i) {
    out[128 + 16 * i + row] =
        static_cast<uint8_t>(high_bits(4 * i) | high_bits(4 * i + 1) << 2 |
                             high_bits(4 * i + 2) << 4 | high_bits(4 * i + 3) << 6);
  }
}

void pack_q3_k(const Blocks& in, uint8_t* out) {
  put_halves(in, 108, out);
  for (int t = 0; t < kQuad; ++t) put_q3_k_scales(in[t] + 96, in.row + t, out + 32);
  const auto high = load_words<8>(in, 0);
  for (int c = 0; c < 8; ++c) put_bits(high, c, in.row, out + 224 + 192 * c);
  put_k_pairs(in, 32, out + 288, 192);
}

void pack_iq4_xs(const Blocks& in, uint8_t* out) {
  put_halves(in, 0, out);
  for (int i = 0; i < 6; ++i) put_byte(in, 2 + i, out + 32 + 16 * i);
  for (int c = 0; c < 8; ++c) {
    put_nibbles(load_words<4>(in, 8 + 16 * c), in.row, out + 128 + 256 * c);
  }
}

// One block of all 16 rows after the other: the panel is written front to back.
template <void (*kPack)(const Blocks&, uint8_t*)>
void pack_blocks(DType type, const uint8_t* rows, int k, uint8_t* out) {
  static_assert(kPanelRows % kQuad == 0);
  const size_t stride = row_bytes(type, static_cast<uint64_t>(k));
  const size_t block = static_cast<size_t>(info(type).block_bytes);
  for (size_t at = 0; at < stride; at += block, out += kPanelRows * block) {
    for (int row = 0; row < kPanelRows; row += kQuad) {
      kPack({rows + static_cast<size_t>(row) * stride + at, stride, row}, out);
    }
  }
}

template <typename Element>
void pack_floats(const uint8_t* rows, int k, uint8_t* out) {
  const size_t stride = static_cast<size_t>(k) * sizeof(Element);
  for (int row = 0; row < kPanelRows; ++row) {
    const uint8_t* in = rows + static_cast<size_t>(row) * stride;
    uint8_t* to = out + static_cast<size_t>(row) * sizeof(Element);
    for (int i = 0; i < k; ++i, in += sizeof(Element), to += kPanelRows * sizeof(Element)) {
      std::memcpy(to, in, sizeof(Element));
    }
  }
}

// Pairs of k beside each other; the last of an odd number alone.
void pack_bf16(const uint8_t* rows, int k, uint8_t* out) {
  const size_t stride = static_cast<size_t>(k) * 2;
  for (int row = 0; row < kPanelRows; ++row) {
    const uint8_t* in = rows + static_cast<size_t>(row) * stride;
    uint8_t* to = out + static_cast<size_t>(row) * 4;
    for (int i = 0; i < k / 2; ++i, in += 4, to += kPanelRows * 4) std::memcpy(to, in, 4);
    if (k % 2 != 0) std::memcpy(to - static_cast<size_t>(row) * 2, in, 2);
  }
}

}  // namespace

size_t panel_bytes(DType type, int k) {
  return kPanelRows * row_bytes(type, static_cast<uint64_t>(k));
}

void pack_panel(DType type, const uint8_t* rows, int k, uint8_t* out) {
  switch (type) {
    case DType::kF32:
      return pack_floats<uint32_t>(rows, k, out);
    case DType::kF16:
      return pack_floats<uint16_t>(rows, k, out);
    case DType::kBF16:
      return pack_bf16(rows, k, out);
    case DType::kQ4_0:
    case DType::kIQ4_NL:
      return pack_blocks<pack_q4_0>(type, rows, k, out);
    case DType::kQ4_1:
      return pack_blocks<pack_q4_1>(type, rows, k, out);
    case DType::kQ5_0:
      return pack_blocks<pack_q5_0>(type, rows, k, out);
    case DType::kQ5_1:
      return pack_blocks<pack_q5_1>(type, rows, k, out);
    case DType::kQ8_0:
      return pack_blocks<pack_q8_0>(type, rows, k, out);
    case DType::kQ2_K:
      return pack_blocks<pack_q2_k>(type, rows, k, out);
    case DType::kQ3_K:
      return pack_blocks<pack_q3_k>(type, rows, k, out);
    case DType::kQ4_K:
      return pack_blocks<pack_q4_k>(type, rows, k, out);
    case DType::kQ5_K:
      return pack_blocks<pack_q5_k>(type, rows, k, out);
    case DType::kQ6_K:
      return pack_blocks<pack_q6_k>(type, rows, k, out);
    case DType::kIQ4_XS:
      return pack_blocks<pack_iq4_xs>(type, rows, k, out);
    case DType::kMXFP4:
      return pack_blocks<pack_mxfp4>(type, rows, k, out);
  }
}

}  // namespace serval::cpu
