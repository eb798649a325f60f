// POST /v1/embeddings: every input is a request of its own in the same queue as the chats, so a
// batch shares steps with streams instead of standing before them. At most kAtOnce of a batch are
// in the engine; each that ends lets the next one in, so that a large batch does not fill the
// queue.
//
// Events come on the engine's delivery thread and are posted to the connection's strand, where all
// state lives. When the client leaves, what is in the engine is cancelled and nothing more enters.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <boost/beast/core/detail/base64.hpp>
#include <boost/json/array.hpp>
#include <boost/json/value.hpp>
#include <cmath>
#include <unordered_map>

#include "server/openai/wire.h"
#include "server/routes/answer.h"
#include "server/routes/generation.h"
#include "server/routes/routes.h"

namespace serval {
namespace {

namespace json = boost::json;

constexpr size_t kAtOnce = 16;

std::string base64(std::span<const float> values) {
  static_assert(std::endian::native == std::endian::little);
  namespace b64 = boost::beast::detail::base64;
  std::string out(b64::encoded_size(values.size_bytes()), '\0');
  out.resize(b64::encode(out.data(), values.data(), values.size_bytes()));
  return out;
}

class Embedding : public std::enable_shared_from_this<Embedding> {
 public:
  Embedding(Service& service, ExchangePtr exchange, Service::KeyShare share, EmbeddingCall call,
            std::vector<std::vector<TokenId>> inputs)
      : service_(service),
        share_(std::move(share)),
        exchange_(std::move(exchange)),
        call_(std::move(call)),
        inputs_(std::move(inputs)),
        vectors_(inputs_.size()) {}

  // Strand, as all below but on_engine_event.
  void begin();

 private:
  void submit_more();
  bool on_engine_event(size_t index, const Event& event);  // delivery thread
  void on_event(size_t index, const Event& event);
  void on_finished(size_t index, const Finished& finished);
  void shape(std::vector<float>& vector) const;
  void complete();
  void fail(const ApiError& error);
  void cancel_all();

  Service& service_;
  Service::KeyShare share_;  // given back before the client can ask again
  const ExchangePtr exchange_;
  const EmbeddingCall call_;
  std::vector<std::vector<TokenId>> inputs_;
  std::vector<std::vector<float>> vectors_;
  size_t next_ = 0, ended_ = 0;                    // of inputs_
  std::unordered_map<size_t, RequestId> running_;  // by input
  Usage usage_;
  Timings first_timings_;
  std::atomic<bool> over_{false};  // nobody wants further events
};

void Embedding::begin() {
  exchange_->on_disconnect([self = shared_from_this()] {
    self->over_ = true;
    self->cancel_all();
  });
  if (!over_) submit_more();
}

void Embedding::submit_more() {
  while (next_ < inputs_.size() && running_.size() < kAtOnce) {
    const size_t index = next_;
    Request request = call_.base;
    request.prompt = inputs_[index];
    auto id = service_.engine().submit(
        std::move(request), [self = shared_from_this(), index](RequestId, const Event& event) {
          return self->on_engine_event(index, event);
        });
    if (!id) {
      // A full queue is waited for while something of ours is in it.
      const bool full = id.error().code() == ErrorCode::kResourceExhausted;
      if (!full || running_.empty()) fail(from_engine(id.error()));
      return;
    }
    if (service_.monitor().shows_text()) service_.monitor().note_prompt(*id, inputs_[index]);
    inputs_[index].clear();
    running_[index] = *id;
    service_.began(*id);
    ++next_;
  }
}

bool Embedding::on_engine_event(size_t index, const Event& event) {
  exchange_->post([self = shared_from_this(), index, event] { self->on_event(index, event); });
  return !over_;
}

void Embedding::on_event(size_t index, const Event& event) {
  if (const auto* pooled = std::get_if<Pooled>(&event)) vectors_[index] = pooled->values;
  const auto* failed = std::get_if<Failed>(&event);
  const auto* finished = std::get_if<Finished>(&event);
  if (failed == nullptr && finished == nullptr) return;
  service_.ended(running_[index]);
  running_.erase(index);
  if (failed != nullptr) {
    ++service_.metrics().failed;
    if (!over_) fail(from_engine(failed->error));
  } else {
    on_finished(index, *finished);
  }
}

void Embedding::on_finished(size_t index, const Finished& finished) {
  Metrics& metrics = service_.metrics();
  const bool cancelled = finished.reason == FinishReason::kCancelled;
  ++(cancelled ? metrics.finished_abort : metrics.finished_stop);
  if (over_) return;
  if (cancelled) {
    fail(overloaded(service_.draining() ? "the server is shutting down"
                                        : "the request took longer than this server allows"));
    return;
  }
  shape(vectors_[index]);
  metrics.queue.record(finished.timings.queue_ms / 1000);
  metrics.prompt_tokens.record(finished.usage.prompt_tokens);
  if (index == 0) first_timings_ = finished.timings;
  usage_.prompt_tokens += finished.usage.prompt_tokens;
  usage_.cached_tokens += finished.usage.cached_tokens;
  if (++ended_ == vectors_.size()) {
    complete();
  } else {
    submit_more();
  }
}

// The first values alone are a vector too, for models trained so (Kusupati et al. 2022); length 1
// is asked of what is sent.
void Embedding::shape(std::vector<float>& vector) const {
  if (call_.dimensions) vector.resize(static_cast<size_t>(*call_.dimensions));
  if (!call_.normalize) return;
  double sum = 0;
  for (const float x : vector) sum += static_cast<double>(x) * static_cast<double>(x);
  const double scale = sum > 0 ? 1 / std::sqrt(sum) : 0;
  for (float& x : vector) x = static_cast<float>(static_cast<double>(x) * scale);
}

void Embedding::complete() {
  over_ = true;
  share_.reset();
  service_.note(exchange_->id(), {usage_, first_timings_, vectors_.size(), 0});
  json::array list;
  for (const std::vector<float>& vector : vectors_) {
    json::object entry{{"object", "embedding"}, {"index", list.size()}};
    if (call_.base64) {
      entry["embedding"] = base64(vector);
    } else {
      entry["embedding"] = json::array(vector.begin(), vector.end());
    }
    list.push_back(std::move(entry));
  }
  json::object body{
      {"object", "list"},
      {"data", std::move(list)},
      {"model", call_.model.empty() ? service_.config().model : call_.model},
      {"usage", json::object{{"prompt_tokens", usage_.prompt_tokens},
                             {"total_tokens", usage_.prompt_tokens},
                             {"prompt_tokens_details",
                              json::object{{"cached_tokens", usage_.cached_tokens}}}}}};
  if (!call_.warnings.empty()) {
    body["warnings"] = json::array(call_.warnings.begin(), call_.warnings.end());
  }
  answer_json(exchange_, body);
}

void Embedding::fail(const ApiError& error) {
  over_ = true;
  share_.reset();
  cancel_all();
  answer_error(exchange_, error);
}

void Embedding::cancel_all() {
  for (const auto& [index, id] : running_) service_.engine().cancel(id);
}

}  // namespace

void embeddings(Service& service, const ExchangePtr& exchange) {
  const auto body = read_request(service, exchange, {});
  if (!body) return;
  EmbeddingCall call;
  auto error = decode_embeddings(*body, call);
  const int size = service.engine().info().hidden_size;
  if (!error && call.dimensions.value_or(1) > size) {
    error = bad_field(
        "dimensions",
        fmt::format("dimensions is {}, but this model's vectors have {}", *call.dimensions, size));
  }
  std::vector<std::vector<TokenId>> inputs;
  if (!error) error = tokenize_prompts(service, call.inputs, false, inputs);
  const bool has_empty =
      std::any_of(inputs.begin(), inputs.end(), [](const auto& input) { return input.empty(); });
  if (!error && has_empty) error = bad_field("input", "input is empty: it holds no token");
  if (error) {
    answer_error(exchange, *error);
    return;
  }
  share_fairly(service, *exchange, call.base);
  const int at_once = static_cast<int>(std::min(inputs.size(), kAtOnce));
  Service::KeyShare share = service.enter(exchange->key_name(), at_once);
  if (share == nullptr) {
    answer_error(exchange, over_share(service.config().key_requests));
    return;
  }
  const auto embedding = std::make_shared<Embedding>(service, exchange, std::move(share),
                                                     std::move(call), std::move(inputs));
  exchange->post([embedding] { embedding->begin(); });
}

}  // namespace serval
