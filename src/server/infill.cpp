// The order of the parts is prefix, suffix, middle ("PSM"; Bavarian et al. 2022), as the model
// cards of Qwen2.5-Coder, StarCoder, DeepSeek-Coder and CodeGemma give it. Other files stand before
// it in the repository form of StarCoder2 and Qwen2.5-Coder:
//
//   <|repo_name|>NAME\n <|file_sep|>FILE\nTEXT ... <|file_sep|>FILE\n <|fim_prefix|>...
//
// Marks are found by their texts, which are the same in every file of a family; a text counts only
// if the vocabulary has it as one token.
#include "server/infill.h"

#include <fmt/format.h>

namespace serval {
namespace {

struct Spelling {
  std::string_view prefix, suffix, middle;
};
constexpr Spelling kSpellings[] = {
    {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"},  // Qwen2.5-Coder, CodeGemma
    {"<fim_prefix>", "<fim_suffix>", "<fim_middle>"},        // StarCoder, Granite
    {"<fim-prefix>", "<fim-suffix>", "<fim-middle>"},        // SantaCoder
    {"<|fim▁begin|>", "<|fim▁hole|>", "<|fim▁end|>"},        // DeepSeek-Coder
    {"<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"},
    {"<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"},  // GLM
};
constexpr std::string_view kRepository[] = {"<|repo_name|>", "<repo_name>", "<reponame>"};
constexpr std::string_view kFile[] = {"<|file_sep|>", "<file_sep>", "<|file_separator|>"};
constexpr std::string_view kPadding[] = {"<|fim_pad|>", "<fim_pad>", "<fim-pad>"};

std::optional<TokenId> token_of(const Engine& engine, std::string_view text) {
  const auto ids = engine.tokenize(text, true, false);
  if (ids.size() != 1 || engine.detokenize(ids, true) != text) return std::nullopt;
  return ids.front();
}

template <size_t kCount>
std::optional<TokenId> first_of(const Engine& engine, const std::string_view (&texts)[kCount]) {
  for (const std::string_view text : texts) {
    if (const auto id = token_of(engine, text)) return id;
  }
  return std::nullopt;
}

void append(std::vector<TokenId>& out, const std::vector<TokenId>& more) {
  out.insert(out.end(), more.begin(), more.end());
}

}  // namespace

std::optional<InfillTokens> find_infill_tokens(const Engine& engine) {
  for (const Spelling& spelling : kSpellings) {
    const auto prefix = token_of(engine, spelling.prefix);
    const auto suffix = token_of(engine, spelling.suffix);
    const auto middle = token_of(engine, spelling.middle);
    if (!prefix || !suffix || !middle) continue;
    InfillTokens marks;
    marks.prefix = *prefix;
    marks.suffix = *suffix;
    marks.middle = *middle;
    marks.repository = first_of(engine, kRepository);
    marks.file = first_of(engine, kFile);
    for (const auto& end : {first_of(engine, kPadding), marks.repository, marks.file}) {
      if (end) marks.ends.push_back(*end);
    }
    return marks;
  }
  return std::nullopt;
}

InfillPrompt infill_prompt(const Engine& engine, const InfillTokens& marks,
                           const InfillParts& parts, size_t room) {
  const auto plain = [&](std::string_view text) { return engine.tokenize(text, false, false); };
  std::vector<TokenId> own{marks.prefix};
  append(own, plain(parts.prefix));
  own.push_back(marks.suffix);
  append(own, plain(parts.suffix));
  own.push_back(marks.middle);
  append(own, plain(parts.middle));

  InfillPrompt out;
  const std::vector<TokenId> begin = engine.tokenize("", false, true);  // BOS, if the model has one
  std::vector<TokenId> head = begin;
  if (marks.repository && marks.file) {
    head.push_back(*marks.repository);
    append(head, plain("repository\n"));
  }
  std::vector<std::vector<TokenId>> files;
  size_t total = head.size() + own.size();
  for (const auto& [name, text] : parts.extra) {
    std::vector<TokenId> file;
    if (marks.file) file.push_back(*marks.file);
    append(file, plain(fmt::format("{}\n{}\n", name, text)));
    total += file.size();
    files.push_back(std::move(file));
  }
  while (out.dropped < files.size() && total > room) total -= files[out.dropped++].size();
  const bool lists_files = out.dropped < files.size();
  out.tokens = lists_files ? std::move(head) : begin;
  for (size_t i = out.dropped; i < files.size(); ++i) append(out.tokens, files[i]);
  if (lists_files && marks.file) out.tokens.push_back(*marks.file);
  append(out.tokens, own);
  return out;
}

}  // namespace serval
