// KernelTable: everything an instruction set provides, as plain functions on plain memory.
//
// Each isa_*.cpp compiles kernels/*.inl once in its own namespace and exports one table. This
// header is seen by files built with different machine flags, so it holds only plain structs and
// constants: no inline functions, no templates, no standard containers (an inline function compiled
// with AVX in one file may be the copy the linker keeps for all). All functions are thread-safe,
// allocate nothing and cannot fail.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace serval::cpu {

constexpr int kPanelRows = 16;      // output rows per weight panel
constexpr int kTileTokens = 8;      // tokens per activation tile, at most
constexpr int kFewRows = 32;        // more rows use KernelTable::bulk_tile and two panels at once
constexpr int kChunk = 32;          // k per integer-exact dot product and per activation scale
constexpr int kFloatSegment = 512;  // k of float weights per sum (kernels/linear_float.inl)
constexpr int kFormats = 16;        // indexed like DType
constexpr int kMaxPlanes = 3;       // distinct planes that the parts of one Linear can need
constexpr int kKvTile = 32;         // tokens per K/V tile, = kBlockTokens
constexpr int kKvSegment = 512;     // = kSegmentTokens, and as many as kKvRun tiles

// Activations are int8 with one float scale per chunk. Where the largest value of a chunk would
// make the scale too coarse for the others, it is 128 * spike + q: it may be up to 128 times the
// others before it costs them precision (docs/adr/0002-spikes.md). Spikes are few, so they stand in
// a list beside the row.
constexpr int kSpikeUnit = 128;

struct Spike {
  int32_t line;   // of the row: 8 * chunk + line in the chunk
  int32_t four;   // the line's four bytes, of which one is `value`
  int32_t value;  // in units of kSpikeUnit, -127..127
  float unit;     // kSpikeUnit * the chunk's scale
};

// What a format needs to know about the sum of a chunk's activations, precomputed per token.
//   zero != 0: int32 -zero * sum, the initial value of the integer dot product; without the spike
//   min:       float scale * sum, multiplied by the block's minimum; with the spike
// `subs` values per chunk: 0 = not needed, 1 = per 32, 2 = per 16.
struct PlaneSpec {
  int subs;
  int zero;
  bool min;
};

// Quantised rows are grouped in tiles (the last tile may hold fewer tokens, `nr`). A tile is one
// block of memory; with nr tokens its arrays begin at nr * the offsets below:
//   int8  q[k/4][nr][4]         broadcast four at a time
//   f32   scale[k/32][nr]
//   i32   spikes[nr]            how many the token has
//   Spike spike[nr][k/32]       in order of k
//   i32 / f32 plane[k/32*subs][nr], for each plane
// Float rows (`raw`, for float weights) are tiles of f32 [k][nr] in a buffer of their own; for BF16
// weights and a kernel set with bfloat16 dot products (`pairs`), tiles of bfloat16 [k/2][nr][2], an
// odd last k with a zero beside it.
struct ActivationLayout {
  int k;
  int planes;
  PlaneSpec plane[kMaxPlanes];
  size_t scale_offset;
  size_t count_offset;
  size_t spike_offset;
  size_t plane_offset[kMaxPlanes];
  size_t token_bytes;
};

struct Activations {
  ActivationLayout layout;
  int rows;
  int tile;            // tokens of every tile but the last
  uint8_t* quantized;  // null when no part needs it
  float* raw;          // null when no part needs it
  uint32_t* pairs;     // null when no part needs it
};

// One panel, or two of the same shape and format, times all rows: out[panel][row][16].
struct PanelJob {
  const uint8_t* panel;
  const uint8_t* second;  // or null
  const Activations* activations;
  int plane;         // index into layout.plane, or -1
  uint8_t* scratch;  // panel_scratch_bytes(k) bytes, 64-aligned: the unpacked panels
  float* out;        // 64-aligned
};

// out[r][i] = f(x[r][i]) * up[r][i] for the first `columns` of a panel's 16.
struct ActivationJob {
  const float* x;   // [rows][16]
  const float* up;  // likewise, or null
  int rows, columns;
  float* out;
  int64_t stride;  // floats between rows of out
};

struct NormJob {
  const float* weight;
  const float* bias;  // or null
  float epsilon;
  bool layer_norm;  // else RMS
};

enum KvFormat { kKvF32 = 0, kKvF16 = 1, kKvQ8 = 2 };

// One layer's cache. Of every head, kKvRun consecutive blocks lie side by side, of k_bytes and
// v_bytes each (backend/kv_storage.h):
//   K: elements [head_dim][32 tokens], q8: bytes [head_dim/2][32 tokens][2]
//   V: elements [32 tokens][head_dim], q8: bytes [16][head_dim][2 tokens]
//   q8: then f16 scales [head_dim/32][32 tokens]
struct KvView {
  int format;  // KvFormat
  int head_dim, kv_heads;
  uint8_t* k;
  uint8_t* v;
  size_t k_bytes, v_bytes;
};

// Attention of `rows` consecutive rows of one sequence and the `group` query heads of one KV head
// over segments [first_segment, end_segment). Query i is row i / group, head i % group of the
// group.
struct AttentionJob {
  const KvView* kv;
  int kv_head;
  const int32_t* blocks;  // the sequence's block table
  const float* q;         // row 0, first head of the group
  int64_t q_stride;       // floats between rows
  int rows, group;
  int position;  // of row 0
  float scale, softcap;
  int window;
  int first_segment, end_segment;
  float* o;  // like q; written when `partial` is null
  int64_t o_stride;
  // Per segment, per query: [m, l, pad.., acc[head_dim padded to 16]], attention_partial_floats
  // each.
  float* partial;
  float* scratch;  // attention_scratch_floats
};

struct KernelTable {
  const char* name;
  const char* numerics_id;
  PlaneSpec plane[kFormats];
  int bulk_tile;  // tokens per tile when there are more than kFewRows rows
  // Weights.
  void (*multiply[kFormats])(const PanelJob& job);
  void (*decode_row[kFormats])(const uint8_t* panel, int k, int row, float* out);
  // Activations: `count` rows into the slots from `t` on of a tile of `nr`.
  void (*quantize)(const float* const* x, int count, const ActivationLayout& layout, uint8_t* tile,
                   int nr, int t);
  // One row for BF16 weights: the kernels' `pairs`. Null: they multiply `raw`.
  void (*round_pairs)(const float* x, const ActivationLayout& layout, uint32_t* tile, int nr,
                      int t);
  // Rows.
  void (*norm)(const float* x, int n, const NormJob& job, float* out);
  void (*add)(const float* x, int n, float* inout);
  // A panel of `rows` results, its first `columns` of 16, to rows `stride` floats apart.
  void (*add_panel)(const float* x, int rows, int columns, float* inout, int64_t stride);
  void (*add_bias)(const float* bias, int rows, float* inout);  // 16 columns, in place
  void (*scale)(float factor, int n, float* inout);
  void (*silu)(const ActivationJob& job);
  void (*gelu_tanh)(const ActivationJob& job);
  void (*softcap)(float cap, int n, float* inout);  // cap * tanh(x / cap)
  void (*rope)(float* head, const float* cos, const float* sin, int dims, bool halves);
  // K/V cache. `token` is the slot in the block, `block` the head's first byte in it.
  void (*store_k)(int format, const float* k, int head_dim, int token, uint8_t* block);
  void (*store_v)(int format, const float* v, int head_dim, int token, uint8_t* block);
  void (*attend)(const AttentionJob& job);
  // o = merge of `count` partials `stride` floats apart, in order.
  void (*merge)(const float* partials, int count, int64_t stride, int head_dim, float* o);
  // Probes: touches every cache line; repeats 32 independent chains of dot products.
  uint64_t (*read_memory)(const uint8_t* data, size_t bytes);
  // return the multiply-adds done
  double (*dot_macs)(int64_t repeats);   // of int8
  double (*fma_macs)(int64_t repeats);   // of float
  double (*bf16_macs)(int64_t repeats);  // of bfloat16 pairs; null: it has no such dot products
};

// Null when this build lacks the instruction set. Whether the processor has it: isa.h.
const KernelTable* avx512bf16_kernels();
const KernelTable* avx512_kernels();
const KernelTable* avx2_kernels();
const KernelTable* portable_kernels();

// Sizes that the tables agree on.
size_t panel_scratch_bytes(int k);
size_t pair_bytes(const ActivationLayout& layout);  // of one row in Activations::pairs
size_t attention_scratch_floats(int queries, int head_dim);
size_t attention_partial_floats(int head_dim);

}  // namespace serval::cpu
