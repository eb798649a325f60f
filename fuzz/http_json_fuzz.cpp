// Any bytes as the body of every endpoint that takes JSON. What is refused is refused with an error
// that is itself valid JSON and no fault of ours; what is accepted is within the limits.
#include <boost/json/object.hpp>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "server/native/native.h"
#include "server/openai/decode.h"
#include "server/openai/fields.h"
#include "server/openai/json_body.h"

namespace serval {
namespace {

void check_error(const ApiError& error) {
  SERVAL_CHECK(error.status >= 400 && error.status < 500 && !error.message.empty());
  boost::json::object parsed;
  SERVAL_CHECK(!parse_body(error_body(error), parsed));
}

void check_call(const GenerateCall& call) {
  SERVAL_CHECK(!call.prompts.empty() && call.prompts.size() <= 256);
  SERVAL_CHECK(call.n >= 1 && call.n <= 8);
  SERVAL_CHECK(!call.base.max_tokens || *call.base.max_tokens >= 0);
  SERVAL_CHECK(call.base.stop.size() <= 16 && call.base.logprobs >= 0 && call.base.logprobs <= 20);
}

}  // namespace
}  // namespace serval

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace serval;
  boost::json::object body;
  if (const auto error = parse_body({reinterpret_cast<const char*>(data), size}, body)) {
    check_error(*error);
    return 0;
  }
  for (const auto decode : {decode_chat, decode_completion}) {
    GenerateCall call;
    if (const auto error = decode(body, SamplingParams(), call)) {
      check_error(*error);
    } else {
      check_call(call);
    }
  }
  EmbeddingCall embedding;
  if (const auto error = decode_embeddings(body, embedding)) {
    check_error(*error);
  } else {
    SERVAL_CHECK(!embedding.inputs.empty() && embedding.inputs.size() <= 2048);
  }
  for (const auto fields : {native_completion_fields(), infill_fields()}) {
    GenerateCall call;
    std::vector<std::pair<std::string, std::string>> files;
    auto error = decode_native(body, fields, SamplingParams(), call);
    if (!error) error = decode_extra_files(body, files);
    if (error) check_error(*error);
  }
  std::vector<std::string> warnings;
  if (const auto error = check_fields(body, detokenize_fields(), warnings)) {
    check_error(*error);
  } else if (const auto* tokens = find_field(body, "tokens")) {
    std::vector<TokenId> ids;
    if (const auto refused = read_tokens(*tokens, "tokens", ids)) check_error(*refused);
  }
  return 0;
}
