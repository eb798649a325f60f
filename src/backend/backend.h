// Backend: the fused verbs that model code is written in, and the handles they work on.
//
// Owner: main (or Engine::load) owns the Backend and outlives every handle, workspace and model
// made from it. Threads: the verbs of a step are called by one thread at a time (the engine
// thread); loading calls (pack, upload, allocate ...) happen before the first step. Errors: loading
// throws Error; verbs do not fail (their REQUIRES are checked at load by the model). A verb's
// result is defined by reference/; docs/architecture.md tells the numerics. Results of a row depend
// on that row's sequence only, never on other rows, chunking or the number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/forward_batch.h"
#include "tensor/tensor.h"
#include "tensor/tensor_source.h"

namespace serval {

// Memory of the backend's device; freed on destruction.
class Buffer {
 public:
  virtual ~Buffer() = default;
  virtual void* data() = 0;
  virtual size_t size() const = 0;  // bytes
  const float* floats() const {
    return static_cast<const float*>(const_cast<Buffer*>(this)->data());
  }
};
using BufferPtr = std::unique_ptr<Buffer>;

// One or more weight matrices multiplied with the same input: y = [W0 x + b0; W1 x + b1; ...].
struct LinearSpec {
  std::string name;              // for plans and errors: "blk.0.attn_qkv"
  std::vector<TensorRef> parts;  // all with the same cols; rows may differ
  std::vector<std::optional<TensorRef>>
      biases;  // empty, or one per part: F32 vectors of parts[i].rows
};

class Linear {
 public:
  virtual ~Linear() = default;
  virtual int in_features() const = 0;
  virtual int out_features() const = 0;  // sum over parts
  virtual size_t bytes() const = 0;      // as packed, biases included
};
using LinearPtr = std::unique_ptr<Linear>;

// Token embedding rows [vocab, d]. A tied output projection uses the same handle's matrix.
class Embedding {
 public:
  virtual ~Embedding() = default;
  virtual int vocab() const = 0;
  virtual int features() const = 0;
  virtual size_t bytes() const = 0;
  virtual const Linear& linear() const = 0;  // the matrix as an output projection (tied weights)
};
using EmbeddingPtr = std::unique_ptr<Embedding>;

enum class NormKind : uint8_t { kRms, kLayer };
struct Norm {
  NormKind kind = NormKind::kRms;
  float epsilon = 1e-5F;
  const Buffer* weight = nullptr;  // [d] float32
  const Buffer* bias = nullptr;    // [d] float32 or null
};

// RMS norm of every head of q and k, [head_dim] weights, before RoPE.
struct QkNorm {
  Norm q, k;
};

enum class RopeStyle : uint8_t { kAdjacent, kHalves };  // pairs (2i, 2i+1), or (i, i + dims/2)
struct RopeSpec {
  RopeStyle style = RopeStyle::kAdjacent;
  int dims = 0;                           // rotated leading dimensions of a head, even
  std::vector<double> inverse_frequency;  // [dims/2] radians per position, scaling already applied
  float magnitude = 1.0F;                 // multiplies sin and cos (YaRN)
};
class Rope {
 public:
  virtual ~Rope() = default;
};
using RopePtr = std::unique_ptr<Rope>;

enum class KvType : uint8_t { kF32, kF16, kQ8_0 };

// K and V of one layer, in blocks of kBlockTokens tokens. A block of K (or V) is `pieces` pieces of
// the same size, at kv_piece_offset() (backend/kv_storage.h); what is in them is the backend's.
// Whoever moves blocks copies pieces.
struct KvLayer {
  KvType type = KvType::kF16;
  int kv_heads = 0;
  int head_dim = 0;  // of K and of V
  int blocks = 0;
  int pieces = 1;
  size_t k_block_bytes = 0, v_block_bytes = 0;  // of all pieces
  BufferPtr k, v;
};

struct AttentionParams {
  int heads = 0;         // query heads, a multiple of the layer's kv_heads
  float scale = 1.0F;    // multiplies q.k
  int window = 0;        // > 0: a row at position p sees positions p-window+1 .. p
  float softcap = 0.0F;  // > 0: c * tanh(score / c)
};

enum class Activation : uint8_t { kSiluGated, kGeluTanhGated, kSilu, kGeluTanh };
constexpr bool is_gated(Activation a) {
  return a == Activation::kSiluGated || a == Activation::kGeluTanhGated;
}

struct HeadParams {
  float scale = 1.0F;    // multiplies logits
  float softcap = 0.0F;  // > 0: c * tanh(logit / c), after scale
};

// Receives logits and hidden states in slices of at most kMaxLogitSlice rows, in order of
// ForwardBatch::logit_rows and hidden_rows. Host memory, valid during the call only.
class LogitSink {
 public:
  virtual ~LogitSink() = default;
  virtual void logits(int first,
                      Tensor slice /*[n, vocab]*/) = 0;  // `first`: index into logit_rows
  virtual void hidden(int /*first: index into hidden_rows*/, Tensor /*slice [n, d]*/) {}
};

struct BackendInfo {
  std::string name;     // "cpu", "reference"
  std::string kernels;  // "avx512-vnni", "avx2", "portable", "scalar"
  int threads = 1;
  std::string numerics_id;  // changes whenever results may change; part of snapshot fingerprints
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual const BackendInfo& info() const = 0;

  // ---- Loading
  // -------------------------------------------------------------------------------------
  virtual LinearPtr pack(const LinearSpec& spec, TensorSource& source) = 0;
  // `tied`: linear() of the result will be used as the output projection too.
  virtual EmbeddingPtr pack_embedding(const TensorRef& ref, bool tied, TensorSource& source) = 0;
  virtual BufferPtr upload(std::span<const float> values) = 0;  // norms and other small vectors
  virtual BufferPtr allocate(size_t bytes) = 0;  // zeroed; throws Error(kOutOfMemory)
  virtual RopePtr make_rope(const RopeSpec& spec) = 0;
  virtual KvLayer make_kv_layer(KvType type, int kv_heads, int head_dim, int blocks) = 0;
  // Sizes internal scratch. REQUIRED once before the first step; all packs and ropes come first.
  virtual void reserve(const StepLimits& limits) = 0;

  // ---- One step: begin_step, verbs, end_step
  // ------------------------------------------------------------
  virtual void begin_step(const ForwardBatch& batch) = 0;
  // x = scale * embedding[token]
  virtual void embed(const Embedding& table, float scale, Tensor x /*[rows, d]*/) = 0;
  // y = linear(norm(x)) split as q|k|v; q,k: optional QK norm, RoPE; k,v are stored in the cache at
  // the rows' positions.
  virtual void attention_in(Tensor x /*[rows, d]*/, const Norm& norm, const Linear& qkv,
                            const QkNorm* qk_norm, const Rope& rope, KvLayer& kv,
                            Tensor q /*[rows, heads * head_dim]*/) = 0;
  // o = softmax(scale * q k^T + causal mask) v, reading k and v back from the cache.
  virtual void attention(Tensor q, const KvLayer& kv, const AttentionParams& params,
                         Tensor o /*[rows, heads * head_dim]*/) = 0;
  // x += post_norm(linear(h)); post may be null.
  virtual void project_add(Tensor h, const Linear& linear, const Norm* post,
                           Tensor x /*[rows, d]*/) = 0;
  // Gated: parts are {gate, up}: h = act(gate(norm(x))) * up(norm(x)). Else h =
  // act(linear(norm(x))).
  virtual void ffn_in(Tensor x, const Norm& norm, const Linear& linear, Activation activation,
                      Tensor h /*[rows, ff]*/) = 0;
  // norm(x) of batch.hidden_rows, then linear(norm(x)) of batch.logit_rows.
  virtual void head(Tensor x, const Norm& norm, const Linear& output, const HeadParams& params,
                    LogitSink& sink) = 0;
  virtual void end_step() = 0;
};

// The sizes that a backend's own scratch memory depends on, as a model's forward() asks for them
// (recording.h finds them).
struct ScratchNeeds {
  int features = 0;  // widest input of a product
  int outputs = 0;   // widest result that other work follows on: q|k|v, before a post norm
  int heads = 0, kv_heads = 0, head_dim = 0;  // of attention
  int rotations = 0;                          // cos and sin pairs of all ropes
  int formats = 0;                            // quantised formats that one product mixes, at most
  bool full_floats = false;                   // some matrix that is multiplied is F32 or F16
  bool bfloats = false;                       // or BF16
};
// Bytes of scratch that steps within `limits` fill, without the logits.
using ScratchBytes = size_t (*)(const ScratchNeeds& needs, const StepLimits& limits, int threads);

// What `--backend` and tests choose from. `threads` <= 0: all usable cores. `isa`: "" = best; else
// a kernel set by name.
struct BackendOptions {
  int threads = 0;
  std::string isa;
};
struct BackendRow {
  std::string_view name;
  std::string_view summary;
  std::unique_ptr<Backend> (*create)(const BackendOptions&);
  ScratchBytes scratch_bytes;
};
std::span<const BackendRow> backends();
// Both throw Error(kNotFound) listing the names.
const BackendRow& find_backend(std::string_view name);
std::unique_ptr<Backend> create_backend(std::string_view name, const BackendOptions& options);

}  // namespace serval
