// Every verb is written as its definition in docs/architecture.md reads. Values between operations
// are float32, sums are double, weights are decoded one row at a time, keys and values go through
// their storage type. There is no activation quantisation and no fusion.
//
// Threads: a verb's independent outputs (weight rows, or batch rows) are cut into contiguous
// ranges; no sum is ever split, so results do not depend on the number of threads.
#include "backend/reference/reference_backend.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <optional>
#include <thread>

#include "backend/kv_storage.h"
#include "backend/reference/scalar_math.h"
#include "base/check.h"
#include "serval/error.h"
#include "tensor/quant/list.h"

namespace serval {
namespace {

class HostBuffer final : public Buffer {
 public:
  explicit HostBuffer(size_t bytes) : size_(bytes) {
    // Values are floats at least; calloc's memory is zero and aligned for them.
    data_ = std::calloc(std::max<size_t>(bytes, 1), 1);
    if (data_ == nullptr) {
      throw Error(ErrorCode::kOutOfMemory,
                  "no memory for a buffer of " + std::to_string(bytes) + " bytes");
    }
  }
  ~HostBuffer() override { std::free(data_); }
  HostBuffer(const HostBuffer&) = delete;
  HostBuffer& operator=(const HostBuffer&) = delete;
  void* data() override { return data_; }
  size_t size() const override { return size_; }

 private:
  void* data_;
  size_t size_;
};

// One weight matrix as it is in the file.
struct Matrix {
  DType dtype = DType::kF32;
  int rows = 0, cols = 0;
  std::vector<std::byte> bytes;

  Matrix(const TensorRef& ref, TensorSource& source)
      : dtype(ref.dtype),
        rows(static_cast<int>(ref.rows)),
        cols(static_cast<int>(ref.cols)),
        bytes(ref.bytes()) {
    source.read(ref, 0, bytes);
  }
  void decode_row(int row, float* out) const {
    const uint64_t row_size = row_bytes(dtype, static_cast<uint64_t>(cols));
    dequantize_row(dtype, bytes.data() + static_cast<uint64_t>(row) * row_size, out, cols);
  }
};

class ReferenceLinear final : public Linear {
 public:
  ReferenceLinear(const LinearSpec& spec, TensorSource& source) {
    SERVAL_CHECK(!spec.parts.empty());
    SERVAL_CHECK(spec.biases.empty() || spec.biases.size() == spec.parts.size());
    for (size_t i = 0; i < spec.parts.size(); ++i) {
      SERVAL_CHECK(spec.parts[i].cols == spec.parts[0].cols);
      parts_.emplace_back(spec.parts[i], source);
      std::vector<float> bias(static_cast<size_t>(spec.parts[i].rows), 0.0F);
      if (!spec.biases.empty() && spec.biases[i]) {
        SERVAL_CHECK(spec.biases[i]->dtype == DType::kF32);
        SERVAL_CHECK(spec.biases[i]->cols * spec.biases[i]->rows == spec.parts[i].rows);
        source.read(*spec.biases[i], 0, std::as_writable_bytes(std::span(bias)));
        bytes_ += spec.biases[i]->bytes();
      }
      bytes_ += spec.parts[i].bytes();
      bias_.insert(bias_.end(), bias.begin(), bias.end());
    }
  }
  int in_features() const override { return parts_[0].cols; }
  int out_features() const override { return static_cast<int>(bias_.size()); }
  size_t bytes() const override { return bytes_; }

  float bias(int row) const { return bias_[static_cast<size_t>(row)]; }
  void decode_row(int row, float* out) const {
    for (const Matrix& part : parts_) {
      if (row < part.rows) return part.decode_row(row, out);
      row -= part.rows;
    }
  }

 private:
  std::vector<Matrix> parts_;
  std::vector<float> bias_;  // [out_features]
  size_t bytes_ = 0;
};

class ReferenceEmbedding final : public Embedding {
 public:
  ReferenceEmbedding(const TensorRef& ref, TensorSource& source)
      : linear_({ref.name, {ref}, {}}, source) {}
  int vocab() const override { return linear_.out_features(); }
  int features() const override { return linear_.in_features(); }
  size_t bytes() const override { return linear_.bytes(); }
  const ReferenceLinear& linear() const override { return linear_; }

 private:
  ReferenceLinear linear_;
};

struct ReferenceRope final : Rope {
  explicit ReferenceRope(const RopeSpec& rope_spec) : spec(rope_spec) {}
  RopeSpec spec;
};

// K or V vectors of one layer: block, then token, then head, then head_dim values in storage type.
struct KvVectors {
  KvVectors(const KvLayer& layer, Buffer& buffer)
      : dtype(kv_dtype(layer.type)),
        heads(layer.kv_heads),
        head_dim(layer.head_dim),
        head_bytes(row_bytes(dtype, static_cast<uint64_t>(layer.head_dim))),
        data(static_cast<std::byte*>(buffer.data())) {}
  std::byte* at(BlockId block, int token, int head) const {
    const auto slot = static_cast<uint64_t>(block) * kBlockTokens + static_cast<uint64_t>(token);
    return data + (slot * static_cast<uint64_t>(heads) + static_cast<uint64_t>(head)) * head_bytes;
  }
  void write(BlockId block, int token, int head, const float* values) const {
    quantize_row(dtype, values, at(block, token, head), head_dim);
  }
  void read(BlockId block, int token, int head, float* values) const {
    dequantize_row(dtype, at(block, token, head), values, head_dim);
  }

  DType dtype;
  int heads, head_dim;
  uint64_t head_bytes;
  std::byte* data;
};

class ReferenceBackend final : public Backend {
 public:
  explicit ReferenceBackend(const BackendOptions& options) {
    const int usable = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
    info_ = {"reference", "scalar", options.threads > 0 ? options.threads : usable, "reference-1"};
  }
  const BackendInfo& info() const override { return info_; }

  LinearPtr pack(const LinearSpec& spec, TensorSource& source) override {
    return std::make_unique<ReferenceLinear>(spec, source);
  }
  EmbeddingPtr pack_embedding(const TensorRef& ref, bool /*tied*/, TensorSource& source) override {
    return std::make_unique<ReferenceEmbedding>(ref, source);
  }
  BufferPtr upload(std::span<const float> values) override {
    BufferPtr out = allocate(values.size_bytes());
    std::memcpy(out->data(), values.data(), values.size_bytes());
    return out;
  }
  BufferPtr allocate(size_t bytes) override { return std::make_unique<HostBuffer>(bytes); }
  RopePtr make_rope(const RopeSpec& spec) override {
    SERVAL_CHECK(spec.inverse_frequency.size() == static_cast<size_t>(spec.dims / 2));
    return std::make_unique<ReferenceRope>(spec);
  }
  KvLayer make_kv_layer(KvType type, int kv_heads, int head_dim, int blocks) override;
  void reserve(const StepLimits&) override {}

  void begin_step(const ForwardBatch& batch) override { batch_ = batch; }
  void embed(const Embedding& table, float scale, Tensor x) override;
  void attention_in(Tensor x, const Norm& norm, const Linear& qkv, const QkNorm* qk_norm,
                    const Rope& rope, KvLayer& kv, Tensor q) override;
  void attention(Tensor q, const KvLayer& kv, const AttentionParams& params, Tensor o) override;
  void project_add(Tensor h, const Linear& linear, const Norm* post, Tensor x) override;
  void ffn_in(Tensor x, const Norm& norm, const Linear& linear, Activation activation,
              Tensor h) override;
  void head(Tensor x, const Norm& norm, const Linear& output, const HeadParams& params,
            LogitSink& sink) override;
  void end_step() override { batch_.reset(); }

 private:
  // A matrix of this step's own, row-major.
  struct Values {
    Values(int row_count, int col_count)
        : cols(col_count), data(static_cast<size_t>(row_count) * static_cast<size_t>(col_count)) {}
    int rows() const { return static_cast<int>(data.size()) / cols; }
    float* row(int r) { return data.data() + static_cast<size_t>(r) * static_cast<size_t>(cols); }
    int cols;
    std::vector<float> data;
  };

  template <typename Body>
  void parallel_for(int count, const Body& body) const;
  Values normalize(Tensor x, const Norm& norm) const;
  Values multiply(const ReferenceLinear& linear, const float* x, int64_t stride, int rows) const;
  Values multiply(const ReferenceLinear& linear, Values x, int rows) const {
    return multiply(linear, x.row(0), x.cols, rows);
  }
  void attend(const float* q, const KvLayer& kv, const AttentionParams& params, const RowSpan& span,
              int position, int head, float* o) const;
  BlockId block_of(const RowSpan& span, int position) const {
    return batch_->block_tables[static_cast<size_t>(span.first_block + position / kBlockTokens)];
  }

  BackendInfo info_;
  std::optional<ForwardBatch> batch_;  // between begin_step and end_step
};

// body(i) for 0 <= i < count, contiguous ranges on up to info_.threads threads.
template <typename Body>
void ReferenceBackend::parallel_for(int count, const Body& body) const {
  const int workers = std::clamp(info_.threads, 1, std::max(1, count));
  const auto run = [&](int worker) {
    const auto bound = [&](int w) { return static_cast<int>(int64_t{count} * w / workers); };
    for (int i = bound(worker); i < bound(worker + 1); ++i) body(i);
  };
  std::vector<std::thread> threads;
  for (int worker = 1; worker < workers; ++worker) threads.emplace_back(run, worker);
  run(0);
  for (std::thread& thread : threads) thread.join();
}

KvLayer ReferenceBackend::make_kv_layer(KvType type, int kv_heads, int head_dim, int blocks) {
  KvLayer layer;
  layer.type = type;
  layer.kv_heads = kv_heads;
  layer.head_dim = head_dim;
  layer.blocks = blocks;
  layer.k_block_bytes = layer.v_block_bytes = kv_block_bytes(type, kv_heads, head_dim);
  layer.k = allocate(layer.k_block_bytes * static_cast<size_t>(blocks));
  layer.v = allocate(layer.v_block_bytes * static_cast<size_t>(blocks));
  return layer;
}

ReferenceBackend::Values ReferenceBackend::normalize(Tensor x, const Norm& norm) const {
  Values out(x.rows, x.cols);
  for (int r = 0; r < x.rows; ++r) scalar::norm(norm, x.row(r), out.row(r), x.cols);
  return out;
}

// out[r][j] = x[r] . weight[j] + bias[j]
ReferenceBackend::Values ReferenceBackend::multiply(const ReferenceLinear& linear, const float* x,
                                                    int64_t stride, int rows) const {
  Values out(rows, linear.out_features());
  const int features = linear.in_features();
  constexpr int kChunk = 64;  // weight rows per piece of work: one scratch vector for many
  parallel_for((out.cols + kChunk - 1) / kChunk, [&](int chunk) {
    std::vector<float> weights(static_cast<size_t>(features));
    for (int j = chunk * kChunk; j < std::min(out.cols, (chunk + 1) * kChunk); ++j) {
      linear.decode_row(j, weights.data());
      for (int r = 0; r < rows; ++r) {
        const double sum = scalar::dot(x + r * stride, weights.data(), features);
        out.row(r)[j] = static_cast<float>(sum + static_cast<double>(linear.bias(j)));
      }
    }
  });
  return out;
}

void ReferenceBackend::embed(const Embedding& table, float scale, Tensor x) {
  const auto& rows = static_cast<const ReferenceEmbedding&>(table).linear();
  for (int r = 0; r < x.rows; ++r) {
    rows.decode_row(batch_->tokens[static_cast<size_t>(r)], x.row(r));
    for (int i = 0; i < x.cols; ++i) x.row(r)[i] *= scale;
  }
}

void ReferenceBackend::attention_in(Tensor x, const Norm& norm, const Linear& qkv,
                                    const QkNorm* qk_norm, const Rope& rope, KvLayer& kv,
                                    Tensor q) {
  const RopeSpec& spec = static_cast<const ReferenceRope&>(rope).spec;
  const int head_dim = kv.head_dim;
  const int heads = q.cols / head_dim;
  Values y = multiply(static_cast<const ReferenceLinear&>(qkv), normalize(x, norm), x.rows);
  SERVAL_CHECK(y.cols == (heads + 2 * kv.kv_heads) * head_dim);
  const KvVectors keys(kv, *kv.k);
  const KvVectors values(kv, *kv.v);
  for (const RowSpan& span : batch_->spans) {
    for (int i = 0; i < span.rows; ++i) {
      const int position = span.past + i;
      const BlockId block = block_of(span, position);
      const int slot = position % kBlockTokens;
      float* row = y.row(span.first_row + i);  // q heads, then k heads, then v heads
      for (int h = 0; h < heads + kv.kv_heads; ++h) {
        float* head = row + h * head_dim;
        if (qk_norm != nullptr) {
          scalar::norm(h < heads ? qk_norm->q : qk_norm->k, head, head, head_dim);
        }
        scalar::rope(spec, batch_->positions[static_cast<size_t>(span.first_row + i)], head);
      }
      std::copy_n(row, q.cols, q.row(span.first_row + i));
      for (int h = 0; h < kv.kv_heads; ++h) {
        keys.write(block, slot, h, row + (heads + h) * head_dim);
        values.write(block, slot, h, row + (heads + kv.kv_heads + h) * head_dim);
      }
    }
  }
}

void ReferenceBackend::attention(Tensor q, const KvLayer& kv, const AttentionParams& params,
                                 Tensor o) {
  for (const RowSpan& span : batch_->spans) {
    parallel_for(span.rows * params.heads, [&](int task) {
      const int row = task / params.heads;
      const int head = task % params.heads;
      const int offset = head * kv.head_dim;
      attend(q.row(span.first_row + row) + offset, kv, params, span, span.past + row, head,
             o.row(span.first_row + row) + offset);
    });
  }
}

// One query head of one row: softmax over the positions it may see.
void ReferenceBackend::attend(const float* q, const KvLayer& kv, const AttentionParams& params,
                              const RowSpan& span, int position, int head, float* o) const {
  const KvVectors keys(kv, *kv.k);
  const KvVectors values(kv, *kv.v);
  const int kv_head = head / (params.heads / kv.kv_heads);
  const int first = params.window > 0 ? std::max(0, position - params.window + 1) : 0;
  const auto head_dim = static_cast<size_t>(kv.head_dim);
  std::vector<float> vector(head_dim);
  std::vector<double> weights;
  double highest = -std::numeric_limits<double>::infinity();
  for (int p = first; p <= position; ++p) {
    keys.read(block_of(span, p), p % kBlockTokens, kv_head, vector.data());
    const double product = scalar::dot(q, vector.data(), kv.head_dim);
    weights.push_back(scalar::softcap(product * static_cast<double>(params.scale), params.softcap));
    highest = std::max(highest, weights.back());
  }
  double total = 0.0;
  for (double& weight : weights) {
    weight = std::exp(weight - highest);
    total += weight;
  }
  std::vector<double> sum(head_dim, 0.0);
  for (int p = first; p <= position; ++p) {
    values.read(block_of(span, p), p % kBlockTokens, kv_head, vector.data());
    const double weight = weights[static_cast<size_t>(p - first)] / total;
    for (size_t i = 0; i < head_dim; ++i) sum[i] += weight * static_cast<double>(vector[i]);
  }
  for (size_t i = 0; i < head_dim; ++i) o[i] = static_cast<float>(sum[i]);
}

void ReferenceBackend::project_add(Tensor h, const Linear& linear, const Norm* post, Tensor x) {
  Values y = multiply(static_cast<const ReferenceLinear&>(linear), h.data, h.stride, h.rows);
  for (int r = 0; r < x.rows; ++r) {
    if (post != nullptr) scalar::norm(*post, y.row(r), y.row(r), y.cols);
    for (int i = 0; i < x.cols; ++i) x.row(r)[i] += y.row(r)[i];
  }
}

void ReferenceBackend::ffn_in(Tensor x, const Norm& norm, const Linear& linear,
                              Activation activation, Tensor h) {
  Values y = multiply(static_cast<const ReferenceLinear&>(linear), normalize(x, norm), x.rows);
  SERVAL_CHECK(y.cols == (is_gated(activation) ? 2 : 1) * h.cols);
  parallel_for(h.rows, [&](int r) {
    for (int i = 0; i < h.cols; ++i) {
      double value = scalar::activate(activation, static_cast<double>(y.row(r)[i]));
      if (is_gated(activation)) value *= static_cast<double>(y.row(r)[h.cols + i]);
      h.row(r)[i] = static_cast<float>(value);
    }
  });
}

void ReferenceBackend::head(Tensor x, const Norm& norm, const Linear& output,
                            const HeadParams& params, LogitSink& sink) {
  const auto normed_slice = [&](std::span<const int32_t> wanted, size_t first) {
    Values normed(static_cast<int>(std::min<size_t>(kMaxLogitSlice, wanted.size() - first)),
                  x.cols);
    for (int r = 0; r < normed.rows(); ++r) {
      const int row = wanted[first + static_cast<size_t>(r)];
      scalar::norm(norm, x.row(row), normed.row(r), x.cols);
    }
    return normed;
  };
  for (size_t first = 0; first < batch_->hidden_rows.size(); first += kMaxLogitSlice) {
    Values normed = normed_slice(batch_->hidden_rows, first);
    sink.hidden(static_cast<int>(first), Tensor{normed.row(0), normed.rows(), x.cols, x.cols});
  }
  for (size_t first = 0; first < batch_->logit_rows.size(); first += kMaxLogitSlice) {
    Values normed = normed_slice(batch_->logit_rows, first);
    const int count = normed.rows();
    Values y = multiply(static_cast<const ReferenceLinear&>(output), std::move(normed), count);
    for (float& logit : y.data) {
      const double scaled = static_cast<double>(logit) * static_cast<double>(params.scale);
      logit = static_cast<float>(scalar::softcap(scaled, params.softcap));
    }
    sink.logits(static_cast<int>(first), Tensor{y.row(0), count, y.cols, y.cols});
  }
}

}  // namespace

std::unique_ptr<Backend> create_reference_backend(const BackendOptions& options) {
  return std::make_unique<ReferenceBackend>(options);
}

// A verb's normalised input and its whole result.
size_t reference_scratch_bytes(const ScratchNeeds& needs, const StepLimits& limits, int) {
  return static_cast<size_t>(limits.rows) *
         (static_cast<size_t>(needs.features) + static_cast<size_t>(needs.outputs)) * sizeof(float);
}

}  // namespace serval
