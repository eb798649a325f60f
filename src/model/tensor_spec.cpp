// The table is expanded layer by layer and compared with the file's list; what was never asked for
// is then found by elimination.
#include "model/tensor_spec.h"

#include <unordered_set>

#include "base/quoted.h"
#include "serval/error.h"

namespace serval {
namespace {

constexpr std::string_view kEveryLayer = "blk.*.";

[[noreturn]] void fail(const GgufFile& file, ErrorCode code, std::string_view tensor,
                       const std::string& problem) {
  throw Error(code, file.path() + ": tensor " + quoted(tensor) + " " + problem);
}

std::string shape_text(const std::vector<uint64_t>& ne) {
  std::string out = "[";
  for (size_t i = 0; i < ne.size(); ++i) out += (i == 0 ? "" : " x ") + std::to_string(ne[i]);
  return out + "]";
}

// Trailing dimensions of 1 mean nothing.
std::vector<uint64_t> significant(std::vector<uint64_t> ne) {
  while (ne.size() > 1 && ne.back() == 1) ne.pop_back();
  return ne;
}

void check_tensor(const GgufFile& file, const ModelConfig& config, const TensorSpec& spec,
                  const GgufTensor& tensor) {
  std::vector<uint64_t> wanted = {static_cast<uint64_t>(extent(spec.in, config))};
  if (spec.out != Dim::kNone) wanted.push_back(static_cast<uint64_t>(extent(spec.out, config)));
  if (significant(tensor.ne) != significant(wanted)) {
    fail(file, ErrorCode::kCorrupt, tensor.ref.name,
         "has shape " + shape_text(tensor.ne) + ", but the model's sizes ask for " +
             shape_text(wanted));
  }
  if (!tensor.supported) {
    fail(file, ErrorCode::kUnsupported, tensor.ref.name,
         "has type number " + std::to_string(tensor.gguf_type) + ", which is not supported");
  }
  if (spec.out == Dim::kNone && tensor.ref.dtype != DType::kF32) {
    fail(file, ErrorCode::kUnsupported, tensor.ref.name,
         "is a vector of type " + std::string(info(tensor.ref.dtype).name) +
             "; only F32 is supported");
  }
}

}  // namespace

int extent(Dim dim, const ModelConfig& config) {
  switch (dim) {
    case Dim::kHidden:
      return config.hidden_size;
    case Dim::kQuery:
      return config.heads * config.head_dim;
    case Dim::kKeyValue:
      return config.kv_heads * config.head_dim;
    case Dim::kHeadDim:
      return config.head_dim;
    case Dim::kFeedForward:
      return config.feed_forward;
    case Dim::kVocab:
      return config.vocab_size;
    case Dim::kRopePairs:
      return config.rope.dims / 2;
    case Dim::kNone:
      break;
  }
  return 1;
}

std::string tensor_name(std::string_view name, int layer) {
  if (!name.starts_with(kEveryLayer)) return std::string(name);
  return "blk." + std::to_string(layer) + "." + std::string(name.substr(kEveryLayer.size()));
}

void check_tensors(const GgufFile& file, const ModelConfig& config,
                   std::span<const TensorSpec> table) {
  std::unordered_set<std::string_view> known;
  for (const TensorSpec& spec : table) {
    const int layers = spec.name.starts_with(kEveryLayer) ? config.layers : 1;
    for (int layer = 0; layer < layers; ++layer) {
      const std::string name = tensor_name(spec.name, layer);
      const GgufTensor* tensor = file.find_tensor(name);
      if (tensor == nullptr) {
        if (spec.need == Need::kOptional) continue;
        fail(file, ErrorCode::kCorrupt, name,
             "is missing; an architecture " + quoted(config.architecture) + " needs it");
      }
      check_tensor(file, config, spec, *tensor);
      known.insert(tensor->ref.name);
    }
  }
  for (const GgufTensor& tensor : file.tensors()) {
    if (!known.contains(tensor.ref.name)) {
      fail(
          file, ErrorCode::kUnsupported, tensor.ref.name,
          "is not part of architecture " + quoted(config.architecture) + " as this build knows it");
    }
  }
}

}  // namespace serval
