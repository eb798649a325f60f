// ConfigReader: the one way architecture files look at metadata. Every value has a type and a
// range; whatever is outside is an Error naming the file, the key and what would be allowed.
#pragma once

#include <string>
#include <string_view>

#include "format/gguf.h"
#include "model/config.h"

namespace serval {

// Bounds of every dense decoder, so that later products of dimensions fit their integers.
inline constexpr int kMaxHidden = 65536;
inline constexpr int kMaxLayers = 1024;
inline constexpr int kMaxHeads = 4096;
inline constexpr int kMaxHeadDim = 4096;
inline constexpr int kMaxQueryWidth = 1 << 18;  // heads * head_dim
inline constexpr int kMaxFeedForward = 1 << 20;
inline constexpr int kMaxVocab = 1 << 23;
inline constexpr int kMaxContext = 1 << 28;

class ConfigReader {
 public:
  // Keys below are without the architecture: "block_count". Borrows the file.
  ConfigReader(const GgufFile& file, std::string_view architecture)
      : file_(file), architecture_(architecture) {}

  const GgufFile& file() const { return file_; }
  bool has(std::string_view key) const { return file_.find(full(key)) != nullptr; }

  // Throws Error(kCorrupt) when absent, of another type, or outside low..high.
  int integer(std::string_view key, int low, int high) const;
  int integer_or(std::string_view key, int low, int high, int fallback) const;
  // As `integer`, but the file may give one value per layer: they must be equal
  // (else Error(kUnsupported)).
  int per_layer(std::string_view key, int low, int high, int layers) const;
  int per_layer_or(std::string_view key, int low, int high, int layers, int fallback) const;
  // Finite, low <= value <= high.
  double number(std::string_view key, double low, double high) const;
  double number_or(std::string_view key, double low, double high, double fallback) const;
  std::string text_or(std::string_view key, std::string fallback) const;

  [[noreturn]] void corrupt(std::string_view key, const std::string& problem) const;
  [[noreturn]] void unsupported(std::string_view key, const std::string& problem) const;

 private:
  std::string full(std::string_view key) const { return architecture_ + "." + std::string(key); }

  const GgufFile& file_;
  std::string architecture_;
};

// Everything dense decoders have in common: sizes, heads, norm epsilon, attention scale, and `rope`
// in the given style. Refuses mixtures of experts and non-causal models by name.
ModelConfig read_decoder_config(const GgufFile& file, std::string_view architecture,
                                RopeStyle style);

}  // namespace serval
