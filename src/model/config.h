// ModelConfig: hyper-parameters of one model, validated once. Names as Hugging Face spells them
// where it has one. Immutable after load.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "backend/backend.h"

namespace serval {

struct ModelConfig {
  std::string architecture;  // "llama"
  std::string name;          // general.name, may be empty
  int vocab_size = 0;
  int context_length = 0;  // as trained
  int hidden_size = 0;
  int layers = 0;
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  int feed_forward = 0;
  float norm_epsilon = 1e-5F;
  float embedding_scale = 1.0F;
  float attention_scale = 0.0F;    // multiplies q.k
  float attention_softcap = 0.0F;  // 0: none
  float logit_softcap = 0.0F;      // 0: none
  int sliding_window = 0;          // 0: none
  int sliding_period =
      0;  // every period-th layer (index % period == period-1) is global; 0: no window layers
  RopeSpec rope;        // global layers
  RopeSpec rope_local;  // sliding-window layers, where they differ
  bool tied_output = false;
  bool layer_is_local(int layer) const {
    return sliding_period > 0 && layer % sliding_period != sliding_period - 1;
  }
};

}  // namespace serval
