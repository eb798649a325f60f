// Every handle carries its size and nothing else; every verb appends one RecordedVerb. The caller
// runs a model's forward() once over a batch of one row and reads verbs().
#include "backend/recording.h"

#include <algorithm>
#include <cstdlib>
#include <map>

#include "backend/kv_storage.h"
#include "base/check.h"
#include "serval/error.h"

namespace serval {
namespace {

// Memory that exists in name only: recorded K/V caches and uploaded vectors are never read.
class NamedBuffer final : public Buffer {
 public:
  explicit NamedBuffer(size_t bytes) : size_(bytes) {}
  void* data() override { return nullptr; }
  size_t size() const override { return size_; }

 private:
  size_t size_;
};

// calloc hands out untouched pages: a workspace that nobody writes to costs nothing.
class ZeroBuffer final : public Buffer {
 public:
  explicit ZeroBuffer(size_t bytes)
      : data_(std::calloc(std::max<size_t>(bytes, 1), 1), std::free), size_(bytes) {
    if (data_ == nullptr) {
      throw Error(ErrorCode::kOutOfMemory,
                  "no memory for a buffer of " + std::to_string(bytes) + " bytes");
    }
  }
  void* data() override { return data_.get(); }
  size_t size() const override { return size_; }

 private:
  std::unique_ptr<void, void (*)(void*)> data_;
  size_t size_;
};

class RecordedLinear final : public Linear {
 public:
  RecordedLinear(int in, int out, size_t bytes) : in_(in), out_(out), bytes_(bytes) {}
  int in_features() const override { return in_; }
  int out_features() const override { return out_; }
  size_t bytes() const override { return bytes_; }

 private:
  int in_, out_;
  size_t bytes_;
};

class RecordedEmbedding final : public Embedding {
 public:
  explicit RecordedEmbedding(const TensorRef& ref)
      : linear_(static_cast<int>(ref.cols), static_cast<int>(ref.rows), ref.bytes()) {}
  int vocab() const override { return linear_.out_features(); }
  int features() const override { return linear_.in_features(); }
  size_t bytes() const override { return linear_.bytes(); }
  const Linear& linear() const override { return linear_; }

 private:
  RecordedLinear linear_;
};

class RecordedRope final : public Rope {};

// "Q4_1 [960 x 576]"; parts of one format count as one matrix: "Q5_0 [1280 x 640] + Q8_0 [...]".
std::string shape_of(const std::vector<TensorRef>& parts) {
  std::map<DType, int64_t> rows;
  for (const TensorRef& part : parts) rows[part.dtype] += part.rows;
  std::string out;
  for (const auto& [dtype, count] : rows) {
    if (!out.empty()) out += " + ";
    out += std::string(info(dtype).name) + " [" + std::to_string(count) + " x " +
           std::to_string(parts[0].cols) + "]";
  }
  return out;
}

std::set<DType> formats_of(const std::vector<TensorRef>& parts) {
  std::set<DType> out;
  for (const TensorRef& part : parts) out.insert(part.dtype);
  return out;
}

uint64_t macs_of(const Linear& linear) {
  return static_cast<uint64_t>(linear.in_features()) * static_cast<uint64_t>(linear.out_features());
}

}  // namespace

LinearPtr RecordingBackend::pack(const LinearSpec& spec, TensorSource&) {
  SERVAL_CHECK(!spec.parts.empty());
  int64_t out = 0;
  size_t bytes = 0;
  for (const TensorRef& part : spec.parts) {
    out += part.rows;
    bytes += part.bytes();
  }
  for (const std::optional<TensorRef>& bias : spec.biases) {
    if (bias) bytes += bias->bytes();
  }
  packed_bytes_ += bytes;
  auto linear = std::make_unique<RecordedLinear>(static_cast<int>(spec.parts[0].cols),
                                                 static_cast<int>(out), bytes);
  notes_[linear.get()] = {spec.name, shape_of(spec.parts), formats_of(spec.parts)};
  return linear;
}

EmbeddingPtr RecordingBackend::pack_embedding(const TensorRef& ref, bool, TensorSource&) {
  packed_bytes_ += ref.bytes();
  auto embedding = std::make_unique<RecordedEmbedding>(ref);
  notes_[&embedding->linear()] = {ref.name, shape_of({ref}), {ref.dtype}};
  return embedding;
}

BufferPtr RecordingBackend::upload(std::span<const float> values) {
  vector_bytes_ += values.size_bytes();
  return std::make_unique<NamedBuffer>(values.size_bytes());
}

BufferPtr RecordingBackend::allocate(size_t bytes) { return std::make_unique<ZeroBuffer>(bytes); }

RopePtr RecordingBackend::make_rope(const RopeSpec& spec) {
  needs_.rotations += spec.dims / 2;
  return std::make_unique<RecordedRope>();
}

KvLayer RecordingBackend::make_kv_layer(KvType type, int kv_heads, int head_dim, int blocks) {
  KvLayer layer;
  layer.type = type;
  layer.kv_heads = kv_heads;
  layer.head_dim = head_dim;
  layer.blocks = blocks;
  layer.k_block_bytes = layer.v_block_bytes = kv_block_bytes(type, kv_heads, head_dim);
  layer.k = std::make_unique<NamedBuffer>(layer.k_block_bytes * static_cast<size_t>(blocks));
  layer.v = std::make_unique<NamedBuffer>(layer.v_block_bytes * static_cast<size_t>(blocks));
  return layer;
}

RecordedVerb& RecordingBackend::note(const char* verb, const Linear* linear, int rows) {
  SERVAL_CHECK(batch_.has_value());
  RecordedVerb& out = verbs_.emplace_back();
  out.verb = verb;
  out.rows = rows;
  if (linear == nullptr) return out;
  if (const auto found = notes_.find(linear); found != notes_.end()) {
    out.name = found->second.name;
    out.shape = found->second.shape;
  }
  out.weight_bytes = out.step_bytes = linear->bytes();
  out.macs = macs_of(*linear);
  needs_.features = std::max(needs_.features, linear->in_features());
  return out;
}

RecordedVerb& RecordingBackend::note_product(const char* verb, const Linear& linear, int rows) {
  if (const auto found = notes_.find(&linear); found != notes_.end()) {
    int quantized = 0;
    for (const DType type : found->second.formats) {
      if (type == DType::kBF16) {
        needs_.bfloats = true;
      } else if (serval::info(type).block_elements == 1) {
        needs_.full_floats = true;
      } else {
        ++quantized;
      }
    }
    needs_.formats = std::max(needs_.formats, quantized);
  }
  return note(verb, &linear, rows);
}

void RecordingBackend::embed(const Embedding& table, float, Tensor x) {
  RecordedVerb& verb = note("embed", &table.linear(), x.rows);
  verb.macs = 0;  // a lookup
  verb.step_bytes = verb.weight_bytes / static_cast<uint64_t>(table.vocab());
}

void RecordingBackend::attention_in(Tensor x, const Norm&, const Linear& qkv, const QkNorm*,
                                    const Rope&, KvLayer& kv, Tensor) {
  RecordedVerb& verb = note_product("attention_in", qkv, x.rows);
  verb.kv_bytes = (kv.k_block_bytes + kv.v_block_bytes) / kBlockTokens;
  needs_.outputs = std::max(needs_.outputs, qkv.out_features());
  needs_.head_dim = std::max(needs_.head_dim, kv.head_dim);
  needs_.kv_heads = std::max(needs_.kv_heads, kv.kv_heads);
}

void RecordingBackend::attention(Tensor q, const KvLayer& kv, const AttentionParams& params,
                                 Tensor) {
  RecordedVerb& verb = note("attention", nullptr, q.rows);
  verb.shape = std::to_string(params.heads) + " heads x " + std::to_string(kv.head_dim) + ", " +
               std::to_string(kv.kv_heads) + " KV heads";
  if (params.window > 0) verb.shape += ", window " + std::to_string(params.window);
  verb.kv_macs = 2 * static_cast<uint64_t>(q.cols);  // q.k and weight.v
  needs_.heads = std::max(needs_.heads, params.heads);
}

void RecordingBackend::project_add(Tensor h, const Linear& linear, const Norm* post, Tensor) {
  note_product("project_add", linear, h.rows);
  if (post != nullptr) needs_.outputs = std::max(needs_.outputs, linear.out_features());
}

void RecordingBackend::ffn_in(Tensor x, const Norm&, const Linear& linear, Activation, Tensor) {
  note_product("ffn_in", linear, x.rows);
}

void RecordingBackend::head(Tensor, const Norm&, const Linear& output, const HeadParams&,
                            LogitSink&) {
  note_product("head", output, static_cast<int>(batch_->logit_rows.size()));
}

}  // namespace serval
