// A layer begins with attention_in; project_add belongs to attention or to the feed-forward part,
// whichever came before it. Bytes are what a verb reads at least: weights once, K and V once for
// every sequence; multiply-adds are those of the products and of attention over the positions that
// each row sees.
#include "backend/timed.h"

#include <algorithm>
#include <chrono>

namespace serval {
namespace {

constexpr int kMaxLayers = 1024;  // deeper models share the last account

void add(std::atomic<uint64_t>& counter, uint64_t amount) {  // one writer
  counter.store(counter.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
}

uint64_t macs_of(const Linear& linear, int rows) {
  return static_cast<uint64_t>(linear.in_features()) *
         static_cast<uint64_t>(linear.out_features()) * static_cast<uint64_t>(rows);
}

// Hands slices on and counts the time that their reader takes.
class TimedSink final : public LogitSink {
 public:
  explicit TimedSink(LogitSink& inner) : inner_(inner) {}
  void logits(int first, Tensor slice) override {
    timed([&] { inner_.logits(first, slice); });
  }
  void hidden(int first, Tensor slice) override {
    timed([&] { inner_.hidden(first, slice); });
  }
  uint64_t nanoseconds() const { return nanoseconds_; }

 private:
  template <typename Call>
  void timed(const Call& call) {
    const auto start = std::chrono::steady_clock::now();
    call();
    nanoseconds_ += static_cast<uint64_t>((std::chrono::steady_clock::now() - start).count());
  }
  LogitSink& inner_;
  uint64_t nanoseconds_ = 0;
};

}  // namespace

TimedBackend::TimedBackend(std::unique_ptr<Backend> inner)
    : inner_(std::move(inner)), layers_(std::make_unique<Layer[]>(kMaxLayers + 1)) {}

std::vector<OperatorWork> TimedBackend::work() const {
  std::vector<OperatorWork> out;
  for (int layer = 0; layer <= kMaxLayers; ++layer) {
    for (size_t op = 0; op < kOperators; ++op) {
      const Cell& cell = layers_[static_cast<size_t>(layer)][op];
      OperatorWork work;
      work.op = static_cast<Operator>(op);
      work.layer = layer - 1;
      work.calls = cell.calls.load(std::memory_order_relaxed);
      work.nanoseconds = cell.nanoseconds.load(std::memory_order_relaxed);
      work.bytes = cell.bytes.load(std::memory_order_relaxed);
      work.macs = cell.macs.load(std::memory_order_relaxed);
      if (work.calls > 0) out.push_back(work);
    }
  }
  return out;
}

LinearPtr TimedBackend::pack(const LinearSpec& spec, TensorSource& source) {
  return inner_->pack(spec, source);
}

EmbeddingPtr TimedBackend::pack_embedding(const TensorRef& ref, bool tied, TensorSource& source) {
  return inner_->pack_embedding(ref, tied, source);
}

KvLayer TimedBackend::make_kv_layer(KvType type, int kv_heads, int head_dim, int blocks) {
  return inner_->make_kv_layer(type, kv_heads, head_dim, blocks);
}

template <typename Verb>
void TimedBackend::timed(Operator op, uint64_t bytes, uint64_t macs, const Verb& verb) {
  const auto start = std::chrono::steady_clock::now();
  verb();
  const auto spent = std::chrono::steady_clock::now() - start;
  Cell& to = cell(op);
  add(to.calls, 1);
  add(to.nanoseconds, static_cast<uint64_t>(spent.count()));
  add(to.bytes, bytes);
  add(to.macs, macs);
}

void TimedBackend::begin_step(const ForwardBatch& batch) {
  batch_ = batch;
  layer_ = 0;
  timed(Operator::kBegin, 0, 0, [&] { inner_->begin_step(batch); });
}

void TimedBackend::embed(const Embedding& table, float scale, Tensor x) {
  timed(Operator::kEmbed, 0, 0, [&] { inner_->embed(table, scale, x); });
}

void TimedBackend::attention_in(Tensor x, const Norm& norm, const Linear& qkv,
                                const QkNorm* qk_norm, const Rope& rope, KvLayer& kv, Tensor q) {
  layer_ = std::min(layer_ + 1, kMaxLayers);
  projection_ = Operator::kAttentionOut;
  timed(Operator::kAttentionIn, qkv.bytes(), macs_of(qkv, x.rows),
        [&] { inner_->attention_in(x, norm, qkv, qk_norm, rope, kv, q); });
}

void TimedBackend::attention(Tensor q, const KvLayer& kv, const AttentionParams& params, Tensor o) {
  uint64_t tokens = 0;     // whose K and V are read
  uint64_t positions = 0;  // seen by the rows together
  for (const RowSpan& span : batch_.spans) {
    const int window = params.window > 0 ? params.window : span.past + span.rows;
    tokens += static_cast<uint64_t>(std::min(span.past + span.rows, window + span.rows - 1));
    for (int row = 0; row < span.rows; ++row) {
      positions += static_cast<uint64_t>(std::min(span.past + row + 1, window));
    }
  }
  const uint64_t bytes = tokens * (kv.k_block_bytes + kv.v_block_bytes) / kBlockTokens;
  const uint64_t macs =
      2 * positions * static_cast<uint64_t>(params.heads) * static_cast<uint64_t>(kv.head_dim);
  timed(Operator::kAttention, bytes, macs, [&] { inner_->attention(q, kv, params, o); });
}

void TimedBackend::project_add(Tensor h, const Linear& linear, const Norm* post, Tensor x) {
  timed(projection_, linear.bytes(), macs_of(linear, x.rows),
        [&] { inner_->project_add(h, linear, post, x); });
}

void TimedBackend::ffn_in(Tensor x, const Norm& norm, const Linear& linear, Activation activation,
                          Tensor h) {
  projection_ = Operator::kFfnOut;
  timed(Operator::kFfnIn, linear.bytes(), macs_of(linear, x.rows),
        [&] { inner_->ffn_in(x, norm, linear, activation, h); });
}

void TimedBackend::head(Tensor x, const Norm& norm, const Linear& output, const HeadParams& params,
                        LogitSink& sink) {
  layer_ = 0;
  TimedSink reader(sink);
  const int rows = static_cast<int>(batch_.logit_rows.size());
  timed(Operator::kHead, rows == 0 ? 0 : output.bytes(), macs_of(output, rows),
        [&] { inner_->head(x, norm, output, params, reader); });
  Cell& own = cell(Operator::kHead);
  own.nanoseconds.store(own.nanoseconds.load(std::memory_order_relaxed) - reader.nanoseconds(),
                        std::memory_order_relaxed);
  Cell& sampling = cell(Operator::kSample);
  add(sampling.calls, 1);
  add(sampling.nanoseconds, reader.nanoseconds());
}

void TimedBackend::end_step() { inner_->end_step(); }

}  // namespace serval
