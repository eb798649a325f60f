// serval perplexity: the field's convention. The text is tokenised once and cut into chunks of -c
// tokens; each begins with BOS where the model wants one; the second half of every chunk is scored,
// so that every scored token has at least half a chunk of context. ppl = exp(mean of -log p).
#include <fmt/format.h>

#include <boost/json.hpp>
#include <cmath>
#include <cstring>
#include <memory>
#include <optional>

#include "apps/command.h"
#include "apps/generation.h"
#include "apps/interrupt.h"
#include "apps/json_text.h"
#include "apps/model_argument.h"
#include "apps/npy_writer.h"
#include "apps/options.h"
#include "apps/terminal.h"
#include "apps/text_input.h"
#include "format/gguf.h"
#include "text/vocab.h"

namespace serval {
namespace {

namespace json = boost::json;

struct PerplexityOptions {
  ModelOptions model;
  EngineOptions engine;
  std::vector<std::string> positionals;
  std::string text_file, tokens_file, logits_file;
  int chunks = 0;
  std::optional<int> first;
  bool json = false, quiet = false;
};

// -log softmax(logits)[target], in double precision around the maximum.
double negative_log_probability(const float* logits, int vocab, TokenId target) {
  float top = logits[0];
  for (int i = 1; i < vocab; ++i) top = std::max(top, logits[i]);
  double sum = 0;
  for (int i = 0; i < vocab; ++i) sum += std::exp(static_cast<double>(logits[i]) - top);
  return std::log(sum) - (static_cast<double>(logits[target]) - top);
}

struct Score {
  double sum = 0, sum_of_squares = 0;
  uint64_t tokens = 0;

  void add(double nll) {
    sum += nll;
    sum_of_squares += nll * nll;
    ++tokens;
  }
  double mean() const { return sum / static_cast<double>(tokens); }
  // Standard error of the mean, carried over to exp(mean).
  double ppl_error() const {
    if (tokens < 2) return 0;
    const double n = static_cast<double>(tokens);
    const double variance = std::max(0.0, sum_of_squares / n - mean() * mean());
    return std::exp(mean()) * std::sqrt(variance / (n - 1));
  }
};

std::vector<std::vector<TokenId>> chunks_of_ids(const std::string& path, int vocab) {
  boost::system::error_code error;
  const json::value parsed = json::parse(read_input(path), error);
  if (error || !parsed.is_array() || parsed.get_array().empty()) {
    throw UsageError(path + ": a JSON array of arrays of token ids is needed");
  }
  std::vector<std::vector<TokenId>> chunks;
  for (const json::value& row : parsed.get_array()) {
    if (!row.is_array() || row.get_array().size() < 2) {
      throw UsageError(path + ": every chunk must be an array of at least two token ids");
    }
    std::vector<TokenId> ids;
    for (const json::value& item : row.get_array()) {
      if (!item.is_int64() || item.get_int64() < 0 || item.get_int64() >= vocab) {
        throw UsageError(fmt::format("{}: token ids of this model are 0 to {}", path, vocab - 1));
      }
      ids.push_back(static_cast<TokenId>(item.get_int64()));
    }
    chunks.push_back(std::move(ids));
  }
  return chunks;
}

std::vector<std::vector<TokenId>> chunks_of_text(const Engine& engine, const std::string& path,
                                                 int length, std::optional<TokenId> bos) {
  const std::string text = read_input(path);
  require_utf8(text, path);
  const std::vector<TokenId> ids = engine.tokenize(text, false, true);
  const size_t size = static_cast<size_t>(length);
  std::vector<std::vector<TokenId>> chunks;
  for (size_t at = 0; at + size <= ids.size(); at += size) {
    chunks.emplace_back(ids.begin() + static_cast<std::ptrdiff_t>(at),
                        ids.begin() + static_cast<std::ptrdiff_t>(at + size));
    if (bos) chunks.back().front() = *bos;
  }
  if (chunks.empty()) {
    throw UsageError(
        fmt::format("{}: has {} tokens, one chunk needs {}; take a longer text or a "
                    "smaller -c",
                    path, ids.size(), length));
  }
  return chunks;
}

class Scorer {
 public:
  Scorer(Engine& engine, const PerplexityOptions& options) : engine_(engine), options_(options) {}

  void score(const std::vector<std::vector<TokenId>>& chunks) {
    open_logits(chunks);
    for (const std::vector<TokenId>& chunk : chunks) {
      score_chunk(chunk);
      chunk_scores_.push_back(chunk_.mean());
      if (!options_.quiet && !options_.json) {
        print(fmt::format("[{}/{}] {:.4f}\n", chunk_scores_.size(), chunks.size(),
                          std::exp(total_.mean())));
      }
    }
    if (npy_) npy_->commit();
  }

  json::object result(double seconds) const {
    return {{"ppl", std::exp(total_.mean())},
            {"ppl_stderr", total_.ppl_error()},
            {"nll", total_.mean()},
            {"tokens", total_.tokens},
            {"chunks", chunk_scores_.size()},
            {"chunk_nll", json::array(chunk_scores_.begin(), chunk_scores_.end())},
            {"backend", engine_.info().backend},
            {"kernels", engine_.info().kernels},
            {"seconds", seconds}};
  }
  const Score& total() const { return total_; }

 private:
  size_t first_of(const std::vector<TokenId>& chunk) const {
    const size_t first = options_.first ? static_cast<size_t>(*options_.first) : chunk.size() / 2;
    if (first + 1 >= chunk.size()) {
      throw UsageError(fmt::format("--first {}: leaves nothing to score in a chunk of {} tokens",
                                   first, chunk.size()));
    }
    return first;
  }

  void open_logits(const std::vector<std::vector<TokenId>>& chunks) {
    if (options_.logits_file.empty()) return;
    for (const std::vector<TokenId>& chunk : chunks) {
      if (chunk.size() != chunks.front().size()) {
        throw UsageError("--logits needs chunks of one length");
      }
    }
    const size_t positions = chunks.front().size() - 1 - first_of(chunks.front());
    npy_ = std::make_unique<NpyWriter>(
        options_.logits_file, std::vector<size_t>{chunks.size(), positions,
                                                  static_cast<size_t>(engine_.info().vocab_size)});
  }

  void score_chunk(const std::vector<TokenId>& chunk) {
    chunk_ = {};
    const size_t first = first_of(chunk);
    Request request;
    request.prompt = chunk;
    request.max_tokens = 0;
    request.use_cache = false;
    request.prompt_logits_from = static_cast<int>(first);
    std::optional<Error> failure;
    request.prompt_logits = [&](int position, const float* logits, int vocab) {
      const size_t next = static_cast<size_t>(position) + 1;
      if (failure || next <= first || next >= chunk.size()) return;
      const double nll = negative_log_probability(logits, vocab, chunk[next]);
      chunk_.add(nll);
      total_.add(nll);
      if (!npy_) return;
      try {
        npy_->append(std::span(logits, static_cast<size_t>(vocab)));
      } catch (const Error& error) {
        failure = error;  // a full disk must not pass through the engine
      }
    };
    run_request(engine_, std::move(request), {});
    if (failure) throw *failure;
    if (interrupted()) throw Error(ErrorCode::kCancelled, "interrupted");
    if (chunk_.tokens != chunk.size() - 1 - first) {
      throw Error(ErrorCode::kInternal, "the engine did not give the logits of every position");
    }
    if (!std::isfinite(chunk_.sum)) {
      throw Error(ErrorCode::kCorrupt, engine_.info().path +
                                           ": the model computes values that are "
                                           "not finite; its weights are damaged");
    }
  }

  Engine& engine_;
  const PerplexityOptions& options_;
  Score total_, chunk_;
  std::vector<double> chunk_scores_;
  std::unique_ptr<NpyWriter> npy_;
};

int perplexity(PerplexityOptions options) {
  std::string& model = options.model.model;
  for (const std::string& argument : options.positionals) {
    if (!model.empty()) throw UsageError("perplexity takes one MODEL; the text goes in with -f");
    model = argument;
  }
  if (options.text_file.empty() == options.tokens_file.empty()) {
    throw UsageError("perplexity needs either -f TEXT or --tokens FILE.json");
  }
  const int length = options.engine.context > 0 ? options.engine.context : 512;
  if (length < 4) throw UsageError("-c: a chunk needs at least 4 tokens");
  const std::string path = resolve_model(model, options.model);
  std::optional<TokenId> bos;
  std::vector<std::vector<TokenId>> chunks;
  size_t longest = static_cast<size_t>(length);
  {
    const std::unique_ptr<GgufFile> file = GgufFile::open(path);
    const auto vocab = Vocab::from_gguf(*file);
    if (vocab->add_bos) bos = vocab->bos;
    if (!options.tokens_file.empty()) {
      chunks = chunks_of_ids(options.tokens_file, vocab->size());
      longest = 0;
      for (const auto& chunk : chunks) longest = std::max(longest, chunk.size());
    }
  }
  EngineConfig config = engine_config(options.engine, path);
  config.context = static_cast<int>(longest) + 1;
  config.max_sequences = 1;
  const std::unique_ptr<Engine> engine = load_engine(config);
  if (chunks.empty()) chunks = chunks_of_text(*engine, options.text_file, length, bos);
  if (options.chunks > 0 && chunks.size() > static_cast<size_t>(options.chunks)) {
    chunks.resize(static_cast<size_t>(options.chunks));
  }
  const InterruptScope scope;
  const auto start = std::chrono::steady_clock::now();
  Scorer scorer(*engine, options);
  scorer.score(chunks);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (options.json) {
    print(pretty_json(scorer.result(seconds)) + "\n");
  } else {
    print(fmt::format("perplexity {:.4f} +/- {:.4f} ({} tokens in {} chunks)\n",
                      std::exp(scorer.total().mean()), scorer.total().ppl_error(),
                      scorer.total().tokens, chunks.size()));
  }
  return kExitDone;
}

}  // namespace

Action define_perplexity(CLI::App& app) {
  const auto o = std::make_shared<PerplexityOptions>();
  app.add_option("arguments", o->positionals, "[MODEL]")->type_name("");
  add_model_options(app, o->model);
  app.add_option("-f,--file", o->text_file, "the text; - is standard input");
  app.add_option("--tokens", o->tokens_file,
                 "JSON array of arrays of token ids: chunks as they are");
  app.add_option("--chunks", o->chunks, "only the first N chunks")->check(CLI::Range(0, 1 << 30));
  app.add_option("--first", o->first,
                 "first position whose prediction counts (default: half a chunk)")
      ->check(CLI::Range(0, 1 << 30));
  app.add_option("--logits", o->logits_file,
                 "write the scored logits, float32 [chunk, position, vocab]");
  app.add_flag("--json", o->json, "one JSON document");
  app.add_flag("-q,--quiet", o->quiet, "only the last line");
  add_engine_options(app, o->engine);
  return [o] { return perplexity(*o); };
}

}  // namespace serval
