// Packing is a permutation of bits: each GGUF block of each of the 16 rows lands, whole, in one
// panel block. All work is on 32-bit words, four k at a time: word j of a row's chunk goes to byte
// 4 * row of line j. GGUF block layouts: github.com/ggml-org/ggml, ggml-common.h; see also
// docs/kernels.md.
#include "backend/cpu/panels/pack.h"

#include <cstring>

#include "backend/cpu/kernel_table.h"

namespace serval::cpu {
namespace {

uint32_t load_word(const uint8_t* p) {
  uint32_t word = 0;
  std::memcpy(&word, p, 4);
  return word;
}

void store_word(uint8_t* p, uint32_t word) { std::memcpy(p, &word, 4); }

constexpr uint32_t kLowNibbles = 0x0F0F0F0F;
constexpr uint32_t kOnes = 0x01010101;
constexpr uint32_t kThrees = 0x03030303;

// ---- pieces: one row of one chunk. `lines` is the first line, `row` the row in the panel.

// Nibbles in GGUF order of 32-element blocks (k and k + 16 share a byte) are in panel order
// already.
void put_nibbles(const uint8_t* qs, int row, uint8_t* lines) {
  for (int j = 0; j < 4; ++j) store_word(lines + 64 * j + 4 * row, load_word(qs + 4 * j));
}

// 32 bytes whose `half` (0 low, 1 high) nibbles are the 32 elements of a chunk.
void put_split_nibbles(const uint8_t* qs, int half, int row, uint8_t* lines) {
  for (int j = 0; j < 4; ++j) {
    const uint32_t near = load_word(qs + 4 * j) >> (4 * half) & kLowNibbles;
    const uint32_t far = load_word(qs + 16 + 4 * j) >> (4 * half) & kLowNibbles;
    store_word(lines + 64 * j + 4 * row, near | far << 4);
  }
}

// Bit `bit` of 32 bytes, one per element.
void put_bits(const uint8_t* bytes, int bit, int row, uint8_t* line) {
  uint32_t word = 0;
  for (int g = 0; g < 8; ++g) word |= (load_word(bytes + 4 * g) >> bit & kOnes) << g;
  store_word(line + 4 * row, word);
}

// 32 bits, bit k of element k.
void put_bit_mask(uint32_t mask, int row, uint8_t* line) {
  uint32_t word = 0;
  for (int g = 0; g < 8; ++g) word |= ((mask >> (4 * g) & 15) * 0x00204081U & kOnes) << g;
  store_word(line + 4 * row, word);
}

// Bits 2 * pair and 2 * pair + 1 of 32 bytes, one per element.
void put_pairs(const uint8_t* bytes, int pair, int row, uint8_t* lines) {
  for (int p = 0; p < 2; ++p) {
    uint32_t word = 0;
    for (int g = 0; g < 4; ++g) {
      word |= (load_word(bytes + 16 * p + 4 * g) >> (2 * pair) & kThrees) << (2 * g);
    }
    store_word(lines + 64 * p + 4 * row, word);
  }
}

void put_half(const uint8_t* from, int row, uint8_t* to) { std::memcpy(to + 2 * row, from, 2); }

// ---- blocks: one row's GGUF block `in` into the panel block `out`

void pack_q4_0(const uint8_t* in, int row, uint8_t* out) {
  put_half(in, row, out);
  put_nibbles(in + 2, row, out + 32);
}

void pack_q4_1(const uint8_t* in, int row, uint8_t* out) {
  put_half(in, row, out);
  put_half(in + 2, row, out + 32);
  put_nibbles(in + 4, row, out + 64);
}

void pack_q5_0(const uint8_t* in, int row, uint8_t* out) {
  put_half(in, row, out);
  put_bit_mask(load_word(in + 2), row, out + 32);
  put_nibbles(in + 6, row, out + 96);
}

void pack_q5_1(const uint8_t* in, int row, uint8_t* out) {
  put_half(in, row, out);
  put_half(in + 2, row, out + 32);
  put_bit_mask(load_word(in + 4), row, out + 64);
  put_nibbles(in + 8, row, out + 128);
}

void pack_q8_0(const uint8_t* in, int row, uint8_t* out) {
  put_half(in, row, out);
  for (int j = 0; j < 8; ++j) {
    store_word(out + 32 + 64 * j + 4 * row, load_word(in + 2 + 4 * j) ^ 0x80808080U);
  }
}

void pack_mxfp4(const uint8_t* in, int row, uint8_t* out) {
  out[row] = in[0];
  put_nibbles(in + 1, row, out + 16);
}

// The 12 bytes of eight 6-bit scales and mins.
void put_k_scales(const uint8_t* s, int row, uint8_t* out) {
  uint8_t high[4] = {};
  for (int j = 0; j < 8; ++j) {
    const int scale = j < 4 ? s[j] & 63 : (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
    const int min = j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | (s[j] >> 6) << 4;
    out[16 * j + row] = static_cast<uint8_t>((scale & 15) | (min & 15) << 4);
    high[j / 2] =
        static_cast<uint8_t>(high[j / 2] | (scale >> 4 | (min >> 4) << 2) << (4 * (j & 1)));
  }
  for (int i = 0; i < 4; ++i) out[128 + 16 * i + row] = high[i];
}

void pack_q4_k(const uint8_t* in, int row, uint8_t* out) {
  put_half(in, row, out);
  put_half(in + 2, row, out + 32);
  put_k_scales(in + 4, row, out + 64);
  for (int c = 0; c < 8; ++c) {
    put_split_nibbles(in + 16 + 32 * (c / 2), c & 1, row, out + 256 + 256 * c);
  }
}

void pack_q5_k(const uint8_t* in, int row, uint8_t* out) {
  put_half(in, row, out);
  put_half(in + 2, row, out + 32);
  put_k_scales(in + 4, row, out + 64);
  for (int c = 0; c < 8; ++c) {
    uint8_t* chunk = out + 256 + 320 * c;
    put_bits(in + 16, c, row, chunk);
    put_split_nibbles(in + 48 + 32 * (c / 2), c & 1, row, chunk + 64);
  }
}

// Half n, chunk 4n + c: nibble (c / 2) of ql[64n + 32(c % 2) ..], pair c of qh[32n ..].
void pack_q6_k(const uint8_t* in, int row, uint8_t* out) {
  put_half(in + 208, row, out);
  for (int s = 0; s < 16; ++s) out[32 + 16 * s + row] = in[192 + s];
  for (int c = 0; c < 8; ++c) {
    const int n = c / 4;
    uint8_t* chunk = out + 288 + 384 * c;
    put_pairs(in + 128 + 32 * n, c % 4, row, chunk);
    put_split_nibbles(in + 64 * n + 32 * (c % 2), c % 4 / 2, row, chunk + 128);
  }
}

void pack_q2_k(const uint8_t* in, int row, uint8_t* out) {
  put_half(in + 80, row, out);
  put_half(in + 82, row, out + 32);
  for (int s = 0; s < 16; ++s) out[64 + 16 * s + row] = in[s];
  for (int c = 0; c < 8; ++c) put_pairs(in + 16 + 32 * (c / 4), c % 4, row, out + 320 + 128 * c);
}

void pack_q3_k(const uint8_t* in, int row, uint8_t* out) {
  put_half(in + 108, row, out);
  const uint8_t* s = in + 96;
  uint8_t* low = out + 32 + row;
  uint8_t* high = out + 160 + row;
  // Scale i: low half in the low (i < 8) or high nibble of byte i % 8, high bits in byte 8 + i % 4.
  const auto low_bits = [&](int i) { return i < 8 ? s[i] & 15 : s[i - 8] >> 4; };
  const auto high_bits = [&](int i) { return s[8 + i % 4] >> (2 * (i / 4)) & 3; };
  for (int c = 0; c < 8; ++c) {
    low[16 * c] = static_cast<uint8_t>(low_bits(2 * c) | low_bits(2 * c + 1) << 4);
  }
  for (int i = 0; i < 4; ++i) {
    high[16 * i] = static_cast<uint8_t>(high_bits(4 * i) | high_bits(4 * i + 1) << 2 |
                                        high_bits(4 * i + 2) << 4 | high_bits(4 * i + 3) << 6);
  }
  for (int c = 0; c < 8; ++c) {
    uint8_t* chunk = out + 224 + 192 * c;
    put_bits(in, c, row, chunk);
    put_pairs(in + 32 + 32 * (c / 4), c % 4, row, chunk + 64);
  }
}

void pack_iq4_xs(const uint8_t* in, int row, uint8_t* out) {
  put_half(in, row, out);
  out[32 + row] = in[2];
  out[48 + row] = in[3];
  for (int i = 0; i < 4; ++i) out[64 + 16 * i + row] = in[4 + i];
  for (int c = 0; c < 8; ++c) put_nibbles(in + 8 + 16 * c, row, out + 128 + 256 * c);
}

// One block of all 16 rows after the other: the panel is written front to back.
template <void (*kPack)(const uint8_t*, int, uint8_t*)>
void pack_blocks(DType type, const uint8_t* rows, int k, uint8_t* out) {
  const size_t stride = row_bytes(type, static_cast<uint64_t>(k));
  const size_t block = static_cast<size_t>(info(type).block_bytes);
  for (size_t at = 0; at < stride; at += block, out += kPanelRows * block) {
    for (int row = 0; row < kPanelRows; ++row) {
      kPack(rows + static_cast<size_t>(row) * stride + at, row, out);
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
